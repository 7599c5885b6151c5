"""Labelled pictures in memory: where they come from, how they are split."""
