"""Fuzz one target in this process: `python -m fuzz.target NAME CORPUS [options of libFuzzer]`."""

import sys
from pathlib import Path

import atheris

OURS = ["service", "model", "PIL", "python_multipart"]
"""Whose branches guide the search."""


def main() -> None:
    """Run until libFuzzer has had enough; a finding ends the process."""
    name, corpus, *options = sys.argv[1:]
    with atheris.instrument_imports(include=OURS):
        from fuzz.targets import TARGETS  # noqa: PLC0415  # instrumented while it is imported
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], corpus, *options], target.make())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
