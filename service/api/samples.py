"""A golden picture as a file that gets the golden answer when it is sent like any other.

The manifest holds what the network reads, the centre square. A picture that is sent has
its margin cut off first, so a margin is put around it: its own edge, mirrored.
"""

import base64
import io

import numpy as np
from PIL import Image

from model.preprocessing import Preprocessing


def sample_png(golden: str, spec: Preprocessing) -> bytes:
    """Write the PNG of a sample.

    Args:
        golden: A PNG file in base64, (crop, crop) pixels.
        spec: Where `crop` is all of `resize`, there is no margin.
    """
    png = base64.b64decode(golden)
    margin = spec.resize - spec.crop
    if margin == 0:
        return png
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        pixels = np.array(image)
    sides = (margin // 2, margin - margin // 2)
    around = (sides, sides, (0, 0))[: pixels.ndim]
    file = io.BytesIO()
    Image.fromarray(np.pad(pixels, around, mode="symmetric")).save(file, "PNG")
    return file.getvalue()
