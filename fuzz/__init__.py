"""Fuzzing: what the service does with input that nobody should send.

`python -m fuzz` runs the harnesses of `fuzz.targets`; schemathesis reads `schemathesis.toml`, and
through it `fuzz.valid_bodies`.
"""
