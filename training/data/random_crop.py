"""A random resized crop that is cut from an image's file, not from its stored centre square.

What is drawn depends on the seed, the epoch and the image's position alone: the same for any
number of worker processes, and in a run that is resumed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.images.image_file import open_image_file
from model.preprocessing import Box, Pixels, Preprocessing, lies_down, preprocess, upright

ATTEMPTS = 10
"""Boxes that are drawn; the first that lies within the image is taken."""
RATIOS = (3 / 4, 4 / 3)
"""Of width to height, at least and at most."""
SCALES = (8, 4, 2, 1)
"""By which libjpeg can shrink an image while it decodes it."""


@dataclass(frozen=True)
class RandomCrop:
    """Random resized crops of a split's images.

    Attributes:
        min_area: Smallest area of a crop, as a share of the image's.
        seed: Of the run.
    """

    min_area: float
    seed: int

    def decode(self, data: bytes, spec: Preprocessing, epoch: int, position: int) -> Pixels:
        """Decode the crop of an epoch, uint8 (S, S, C).

        A JPEG is shrunk while it is decoded, as far as the crop keeps the network's size.

        Args:
            data: The file.
            spec: Size, channels and filter.
            epoch: From 0.
            position: Of the image in its split.

        Raises:
            DECODE_ERRORS: If the file is broken.
        """
        draws = np.random.default_rng((self.seed, epoch, position)).random((ATTEMPTS, 4))
        image = open_image_file(data)
        width, height = image.size[::-1] if lies_down(image) else image.size
        left, top, right, bottom = random_box(width, height, self.min_area, draws)
        spare = min(right - left, bottom - top) / spec.crop
        scale = next((scale for scale in SCALES if scale <= spare), 1)
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
        flat = upright(image, spec.grey_bits)
        return preprocess(flat, spec, random_box(*flat.size, self.min_area, draws))


def random_box(width: int, height: int, min_area: float, draws: NDArray[np.float64]) -> Box:
    """Choose a box of random area and shape in an image.

    Args:
        width: Of the image, in pixels.
        height: Likewise.
        min_area: Smallest area, as a share.
        draws: Between 0 and 1, (attempts, 4): area, side ratio, place across, place down.

    Returns:
        (left, top, right, bottom) in pixels; the largest centred box with a side ratio that is
        allowed where no attempt lies within the image.

    Source:
        torchvision's `RandomResizedCrop`; Szegedy et al., "Going deeper with convolutions", 2014,
        section 6.
    """
    low, high = np.log(RATIOS)
    areas = width * height * (min_area + (1 - min_area) * draws[:, 0])
    ratios = np.exp(low + (high - low) * draws[:, 1])
    widths, heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    for across, down, draw in zip(widths.tolist(), heights.tolist(), draws, strict=True):
        if across <= width and down <= height:
            left, top = float(draw[2]) * (width - across), float(draw[3]) * (height - down)
            return left, top, left + across, top + down
    across, down = min(width, height * RATIOS[1]), min(height, width / RATIOS[0])
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down
