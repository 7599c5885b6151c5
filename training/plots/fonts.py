"""Find a font that has the characters of a label: the usual one lacks Chinese, for example."""

import unicodedata
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

DEFAULT_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""Comes with matplotlib, and has more letters than Pillow's own."""
PLACEHOLDERS = "LastResort"
"""A font that draws a box for every character; matplotlib brings it."""


def font_for(text: str) -> Path | None:
    """Return a font that has every character of a text, the usual one if it does.

    Returns:
        Its file; None if no installed font has them all.
    """
    needed = {ord(character) for character in text if not _is_invisible(character)}
    if needed <= _characters(DEFAULT_FONT):
        return DEFAULT_FONT
    fonts = (font for font in installed_fonts() if not font.name.startswith(PLACEHOLDERS))
    return next((font for font in fonts if needed <= _characters(font)), None)


def installed_fonts() -> list[Path]:
    """List the regular fonts of this machine, those without serifs first."""
    entries = {
        ("sans" not in entry.name.casefold(), entry.fname)
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular")
    }
    return [Path(file) for _, file in sorted(entries)]


def _is_invisible(character: str) -> bool:
    """Whether a character needs no glyph: blanks, joiners, variation selectors."""
    return unicodedata.category(character) in ("Cf", "Zs") or 0xFE00 <= ord(character) <= 0xFE0F


@cache
def _characters(font: Path) -> frozenset[int]:
    """Return the code points that a font has glyphs for; none if it cannot be read."""
    try:
        return frozenset(FT2Font(str(font)).get_charmap())
    except (OSError, RuntimeError):  # a font that was removed or is broken
        return frozenset()
