"""Figures in words, as they are printed."""


def duration(seconds: float) -> str:
    """Say a time in the unit that reads best, to two digits or a whole number."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
