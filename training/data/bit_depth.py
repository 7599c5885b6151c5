"""How many bits images of 16 bits use: many cameras and microscopes save 10, 12 or 14.

Such images would come out nearly black if they were read as 16 bits.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from model.images.deep_png import reopen_lower, strips
from model.images.image_file import DECODE_ERRORS, open_image_path
from training.data.splits import LabelledFile

SAMPLE = 64
"""Files that are decoded for it, evenly spread."""
DEPTHS = (8, 10, 12, 14, 16)


def used_bits(files: Sequence[LabelledFile]) -> tuple[int, str]:
    """Find the number of bits that holds the largest value of some images.

    Args:
        files: Of images of 16 bits a channel, grey or in colour.

    Returns:
        The number, and what to say of it; nothing if all 16 are used.
    """
    largest = looked_at = 0
    for file in files[:: -(-len(files) // SAMPLE) or 1]:
        try:
            with open_image_path(file.path) as image:
                largest = max(largest, _largest(image))
                looked_at += 1
        except DECODE_ERRORS:  # named when all images are decoded
            continue
    bits = next((depth for depth in DEPTHS if largest < 1 << depth), DEPTHS[-1])
    if not looked_at or bits == DEPTHS[-1]:
        return DEPTHS[-1], ""
    return bits, (
        f"note: {len(files):,} images have 16 bits, of which {bits} are used: the "
        f"largest value in {looked_at:,} of them is {largest:,}. They are scaled by "
        f"{1 << (16 - bits)}, here and in the artifact; larger values become white"
    )


def _largest(image: Image.Image) -> int:
    """Find the largest grey or colour of a file just opened; alpha does not count."""
    lower = reopen_lower(image)
    if lower is None:
        return int(np.asarray(image).max())
    image.load()
    return max(int(values.max()) for values, _ in strips(image, lower))
