"""A contact sheet: many small images, each with a few lines of text beneath it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.plots.fonts import DEFAULT_FONT, font_for

MIN_TILE_SIZE, MAX_TILE_SIZE = 96, 192
"""In pixels: smaller images are enlarged, larger ones are shrunk."""
TILE_GAP, LINE_HEIGHT, FONT_SIZE = 8, 15, 11
"""In pixels."""
PAPER, INK = (255, 255, 255), (30, 30, 30)


class Tile(NamedTuple):
    """An image, uint8 (S, S, C), and the lines beneath it."""

    pixels: NDArray[np.uint8]
    lines: tuple[str, ...]


def draw_sheet(tiles: Sequence[Tile], columns: int, out: Path) -> None:
    """Write tiles row by row as a PNG; small images are enlarged without smoothing."""
    columns = max(1, min(columns, len(tiles)))
    image_size = tiles[0].pixels.shape[0] if tiles else MIN_TILE_SIZE
    shown = _tile_size(image_size)
    height = shown + LINE_HEIGHT * max((len(tile.lines) for tile in tiles), default=0) + TILE_GAP
    rows = -(-len(tiles) // columns)
    size = (TILE_GAP + columns * (shown + TILE_GAP), TILE_GAP + rows * height)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, tile in enumerate(tiles):
        left = TILE_GAP + (number % columns) * (shown + TILE_GAP)
        top = TILE_GAP + (number // columns) * height
        pixels = tile.pixels[..., 0] if tile.pixels.shape[-1] == 1 else tile.pixels
        how = Image.Resampling.NEAREST if image_size < shown else Image.Resampling.BOX
        sheet.paste(Image.fromarray(pixels).resize((shown, shown), how), (left, top))
        for index, line in enumerate(tile.lines):
            font = ImageFont.truetype(font_for(line) or DEFAULT_FONT, FONT_SIZE)
            position = (left, top + shown + index * LINE_HEIGHT)
            pen.text(position, _clip(line, font, shown), INK, font)
    sheet.save(out)


def _tile_size(image_size: int) -> int:
    """Return the size at which images are drawn; enlarged by a whole factor."""
    if image_size < MIN_TILE_SIZE:
        return image_size * -(-MIN_TILE_SIZE // image_size)
    return min(image_size, MAX_TILE_SIZE)


def _clip(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shorten a line that is wider than its image."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
