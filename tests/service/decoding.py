"""Both steps of decoding, as the classifier takes them."""

import time

from PIL import Image

from model.preprocessing import Preprocessing
from service.preprocessing.decode import open_image, read_image

SPEC = Preprocessing(resize=28, crop=28, channels=1, mean=(0.0,), std=(1.0,))
LIMIT = 25_000_000


def decode(payload: bytes, max_pixels: int = LIMIT, index: int = 0) -> Image.Image:
    """Both steps, as the classifier takes them."""
    return read_image(open_image(payload, max_pixels, index), SPEC, index)


def within(seconds: float) -> float:
    """Give a deadline on `time.perf_counter`'s clock."""
    return time.perf_counter() + seconds
