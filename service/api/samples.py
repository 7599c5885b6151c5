"""A golden image as a file that gets the golden answer when it is sent to `POST /predict`.

The manifest has the network's input, the centre square. Preprocessing crops an image to that
square, so the file needs a margin, which is made of the mirrored edges.
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
        spec: If `crop` equals `resize`, there is no margin.
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
