"""Measurements: each a ratio of two things in one run, with machine and versions."""
