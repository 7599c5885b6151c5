"""A sheet of many small pictures, each with a line or two beneath it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

LEAST, MOST = 96, 192
"""Sides in pixels that pictures are brought between."""
GAP, LINE = 8, 15
PAPER, INK = (255, 255, 255), (30, 30, 30)

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""Comes with matplotlib, and has more letters than Pillow's own."""


class Tile(NamedTuple):
    """A picture, uint8 (S, S, C), and the lines beneath it."""

    pixels: NDArray[np.uint8]
    lines: tuple[str, ...]


def draw_sheet(tiles: Sequence[Tile], columns: int, out: Path) -> None:
    """Write tiles row by row as a PNG; small pictures are enlarged without smoothing."""
    columns = max(1, min(columns, len(tiles)))
    side = tiles[0].pixels.shape[0] if tiles else LEAST
    shown = side * -(-LEAST // side) if side < LEAST else min(side, MOST)
    height = shown + LINE * max((len(tile.lines) for tile in tiles), default=0) + GAP
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (GAP + columns * (shown + GAP), GAP + rows * height), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(FONT, 11)
    for number, tile in enumerate(tiles):
        left = GAP + (number % columns) * (shown + GAP)
        top = GAP + (number // columns) * height
        pixels = tile.pixels[..., 0] if tile.pixels.shape[-1] == 1 else tile.pixels
        how = Image.Resampling.NEAREST if side < shown else Image.Resampling.BOX
        sheet.paste(Image.fromarray(pixels).resize((shown, shown), how), (left, top))
        for place, line in enumerate(tile.lines):
            text = _clip(line, font, shown)
            pen.text((left, top + shown + place * LINE), text, INK, font)
    sheet.save(out)


def _clip(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int) -> str:
    """Shorten a line that is wider than its picture."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
