"""The lower bytes of PNG colours of 16 bits, which Pillow drops: it has no such mode.

The file is decoded again, with another order of bytes.
"""

import io
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

STRIP_PIXELS = 65_536
"""Of which values are held at once."""
LOWER_BYTES: Mapping[str, str] = MappingProxyType(
    {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}
)
"""Pillow's raw mode of such a file -> the one that yields its lower bytes. Grey and alpha of two
bytes each are read as four channels."""

Colours = NDArray[np.uint16]


def is_deep(image: Image.Image) -> bool:
    """Whether a file just opened has 16 bits a channel, grey or in colour."""
    return image.mode.startswith("I") or _raw_mode(image) in LOWER_BYTES


def reopen_lower(image: Image.Image) -> PngImageFile | None:
    """Open the lower bytes of a file just opened; None if it has no colours of 16 bits."""
    raw_mode = _raw_mode(image)
    if not isinstance(image, PngImageFile) or image.fp is None or raw_mode not in LOWER_BYTES:
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    lower = PngImageFile(io.BytesIO(image.fp.read()))
    image.fp.seek(place)
    lower.tile = [tile._replace(args=LOWER_BYTES[raw_mode]) for tile in lower.tile]
    return lower


def strips(upper: Image.Image, lower: Image.Image) -> Iterator[tuple[Colours, NDArray[np.uint8]]]:
    """Yield colours (H, W, 3) and the upper byte of alpha (H, W), some rows at a time.

    Args:
        upper: The image as Pillow reads it.
        lower: See `reopen_lower`.
    """
    has_greys = lower.mode == "RGBA" and _raw_mode(lower) == "RGBA"
    lower.load()
    rows = max(1, STRIP_PIXELS // upper.width)
    for top in range(0, upper.height, rows):
        box = (0, top, upper.width, min(top + rows, upper.height))
        high, low = (np.asarray(each.crop(box)) for each in (upper, lower))  # (H, W, 3 or 4)
        low = low[..., [1, 1, 1]] if has_greys else low[..., :3]
        alpha = high[..., 3] if high.shape[2] == 4 else np.full(high.shape[:2], 255, np.uint8)
        yield (high[..., :3].astype(np.uint16) << 8) | low, alpha


def _raw_mode(image: Image.Image) -> str:
    """Return the order of bytes in a PNG that is not decoded yet; else nothing."""
    return str(image.tile[0].args) if isinstance(image, PngImageFile) and image.tile else ""
