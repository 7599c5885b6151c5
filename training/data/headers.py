"""Read the headers of image files: which can be opened, and how large they are."""

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from model.images.deep_png import is_deep
from model.images.image_file import DECODE_ERRORS, open_image_path
from model.preprocessing import Preprocessing
from training.data.splits import LabelledFile, plain

SMALL = 64
"""Images up to this size in pixels keep it; larger ones are cropped for ImageNet's networks."""


class Header(NamedTuple):
    """The shorter side of an image in pixels, whether it is grey, and whether it has 16 bits."""

    shorter_side: int
    is_grey: bool
    is_deep: bool = False


def read_headers(files: Iterable[LabelledFile]) -> tuple[dict[LabelledFile, Header], list[str]]:
    """Open each file as far as its header.

    Returns:
        The headers of the readable files, in their order; the other files with the reason.
    """
    headers: dict[LabelledFile, Header] = {}
    unreadable = []
    for file in files:
        try:
            with open_image_path(file.path) as image:
                is_grey = image.mode.startswith("I") or image.mode in ("1", "L", "LA")
                headers[file] = Header(min(image.size), is_grey, is_deep(image))
        except DECODE_ERRORS as error:
            unreadable.append(reason(file, error))
    return headers, unreadable


def reason(file: LabelledFile, error: BaseException) -> str:
    """Say in one line why a file cannot be read."""
    if isinstance(error, OSError) and error.strerror:
        return f"{plain(file.path)}: {error.strerror}"
    said = str(error).replace(repr(str(file.path)), "").split(str(file.path))[0]
    detail = " ".join(said.split()).strip(" '\"") or type(error).__name__
    return f"{plain(file.path)}: {detail}"


def choose_preprocessing(
    headers: Sequence[Header], size: int | None, like: Preprocessing | None = None
) -> Preprocessing:
    """Keep the median size up to `SMALL` pixels; above, resize to 256 and crop 224.

    Args:
        headers: Of all images.
        size: Of the crop, if the user has chosen one.
        like: What a network that is there already expects; its `resize` and `grey_bits` are taken.

    Returns:
        With mean 0 and standard deviation 1: nothing is decoded yet.
    """
    channels = 1 if all(header.is_grey for header in headers) else 3
    usual = int(statistics.median(header.shorter_side for header in headers))
    crop = size or (usual if usual <= SMALL else 224)
    resize = like.resize if like else (crop if crop <= SMALL else round(crop * 256 / 224))
    mean, std = (0.0,) * channels, (1.0,) * channels
    bits = like.grey_bits if like else 16
    return Preprocessing(
        resize=resize, crop=crop, channels=channels, mean=mean, std=std, grey_bits=bits
    )
