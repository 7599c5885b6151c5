"""The golden images of a manifest: packed by the exporter, unpacked by the server."""

import base64
import io

import numpy as np
from PIL import Image

from model.artifact.manifest import Input
from model.images.image_file import DECODE_ERRORS
from model.preprocessing import Pixels


def pack(pixels: Pixels) -> str:
    """uint8 (S, S, C) -> a PNG file in base64, as a manifest holds it."""
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        file, "PNG", optimize=True
    )
    return base64.b64encode(file.getvalue()).decode()


def unpack(png: str, expected: Input) -> Pixels:
    """A PNG file in base64 -> uint8 (S, S, C).

    Raises:
        ValueError: If it is no such image; the message goes on after "the image".
    """
    try:
        with Image.open(
            io.BytesIO(base64.b64decode(png, validate=True)), formats=("PNG",)
        ) as image:
            refused = _misfit(image, expected)  # by its header: a large one is not unpacked
            pixels = None if refused else np.array(image, dtype=np.uint8)
    except DECODE_ERRORS as error:
        raise ValueError("is no PNG file.") from error
    if pixels is None:
        raise ValueError(refused)
    return pixels.reshape(expected.size, expected.size, expected.channels)


def _misfit(image: Image.Image, expected: Input) -> str:
    """Say how an image differs from what the network reads; empty if it does not."""
    size, channels = expected.size, expected.channels
    bands = len(image.getbands())
    seen = (image.height, image.width, *((bands,) if bands > 1 else ()))
    if seen != (size, size, *((channels,) if channels > 1 else ())):
        return f"has shape {seen}, not ({size}, {size}, {channels})."
    mode = "L" if channels == 1 else "RGB"
    return "" if image.mode == mode else f"has mode {image.mode}, not {mode}."
