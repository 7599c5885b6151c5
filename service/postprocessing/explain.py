"""The activation maps of the likeliest labels, as numbers, and the first as a PNG overlay.

The graph computes the maps; this module places it on the image as sent. Uses NumPy and Pillow only;
knows neither queues nor HTTP.
"""

import base64
import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.preprocessing import Preprocessing, crop_box
from service.postprocessing.schemas import Box, Explanation
from service.preprocessing.prepare import ImageSize

LEVELS = 64
"""Colours of the overlay; few enough that a large one compresses well."""
SMOOTH = 512
"""Side in pixels up to which the map is interpolated; larger overlays repeat its pixels, which
is not visible. So 12 megapixels take 24 ms instead of 74."""


def explain(  # noqa: PLR0913  # each is a part of the answer
    activations: NDArray[np.float32],
    logit: float,
    bias: float | None,
    image_size: ImageSize,
    spec: Preprocessing,
    *,
    draw: bool,
) -> Explanation:
    """Place maps on their image.

    Args:
        activations: float32 (M, h, w), of the likeliest labels.
        logit: Of the top label, raw.
        bias: Of the top label in the head; None if the artifact does not record it.
        image_size: Upright.
        spec: How the image was cropped.
        draw: Whether to add the overlay.
    """
    left, top, right, bottom = crop_box(*image_size, spec)
    box = Box(left=left, top=top, right=right, bottom=bottom)
    return Explanation(
        map=activations[0].tolist(),
        maps=activations.tolist(),
        logit=logit,
        bias=bias,
        box=box,
        png=base64.b64encode(overlay(activations[0], image_size, box)).decode() if draw else None,
    )


def overlay(activation: NDArray[np.float32], image_size: ImageSize, box: Box) -> bytes:
    """Draw the map as a PNG overlay of the image's size.

    Evidence for the label is red; the stronger, the less transparent. Evidence against it and the
    area outside the crop are transparent.
    """
    strongest = max(float(activation.max()), 1e-12)
    heat = (activation.clip(min=0) / strongest * 255).round().astype(np.uint8)
    size = (max(1, round(box.right - box.left)), max(1, round(box.bottom - box.top)))
    drawn = (min(size[0], SMOOTH), min(size[1], SMOOTH))
    smooth = Image.fromarray(heat).resize(drawn, Image.Resampling.BILINEAR)
    levels = smooth.point([round(value * (LEVELS - 1) / 255) for value in range(256)])
    layer = Image.new("L", image_size)
    layer.paste(levels.resize(size, Image.Resampling.NEAREST), (round(box.left), round(box.top)))
    layer.putpalette(_palette())
    file = io.BytesIO()
    transparency = bytes(round(200 * level / (LEVELS - 1)) for level in range(LEVELS))
    layer.save(file, "PNG", transparency=transparency, compress_level=1)
    return file.getvalue()


@lru_cache(maxsize=1)
def _palette() -> list[int]:
    """Return red, green, blue for each level: from yellow, for little, to red."""
    return [
        part
        for level in range(LEVELS)
        for part in (255, round(220 * (1 - level / (LEVELS - 1))), 0)
    ]
