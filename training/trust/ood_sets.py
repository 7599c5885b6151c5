"""Pictures that a network was not made for, to see whether it notices.

Noise, inverted and shuffled pictures can be had for any data set; scikit-learn's digits
where it is installed; photographs where somebody gives a folder.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.images.image_file import DECODE_ERRORS, open_image_file, open_image_path
from model.preprocessing import Preprocessing, preprocess, shrink_on_load, upright
from training.data.dataset import DatasetError, spread
from training.data.tree import SUFFIXES

PICTURES = 2_000


def distort(images: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Make three strange sets of uint8 (N, S, S, C): noise, inverted, shuffled."""
    images = images[spread(len(images), PICTURES)]
    dice = torch.Generator().manual_seed(seed)
    count, side, _, channels = images.shape
    flat = images.reshape(count, side * side, channels)
    shuffled = torch.stack([picture[torch.randperm(side**2, generator=dice)] for picture in flat])
    return {
        "noise": torch.randint(0, 256, images.shape, generator=dice, dtype=torch.uint8),
        "inverted": 255 - images,
        "shuffled": shuffled.reshape(images.shape),
    }


def strange_sets(
    images: Tensor, spec: Preprocessing, photographs: Path | None, seed: int = 1
) -> dict[str, Tensor]:
    """Give every strange set that can be had: uint8 (N, S, S, C) each.

    Args:
        images: Ordinary pictures of the test split, to distort.
        spec: The network's preprocessing.
        photographs: A folder of pictures of anything else.
        seed: Of noise and shuffling; another than the validation split's.

    Raises:
        DatasetError: If the folder holds no picture.
    """
    return distort(images, seed) | _digits(spec) | _photographs(photographs, spec)


def _digits(spec: Preprocessing) -> dict[str, Tensor]:
    """scikit-learn's 1,797 digits of 8 x 8 pixels: white on black, and black on white."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  # an optional dependency
    except ImportError:
        return {}
    light = (load_digits().images * (255 / 16)).round().astype(np.uint8)
    white = [preprocess(Image.fromarray(image), spec) for image in light]
    black = [preprocess(Image.fromarray(255 - image), spec) for image in light]
    return {
        "digits": torch.from_numpy(np.stack(white)),
        "digits_inverted": torch.from_numpy(np.stack(black)),
    }


def _photographs(folder: Path | None, spec: Preprocessing) -> dict[str, Tensor]:
    """Read a folder's pictures through the real preprocessing; what is broken is left out.

    Raises:
        DatasetError: If there is no picture.
    """
    if folder is None:
        return {}
    pictures = []
    for path in _files(folder):
        try:
            image = open_image_file(path.read_bytes())
            shrink_on_load(image, spec)
            pictures.append(preprocess(upright(image), spec))
        except DECODE_ERRORS:
            continue
    if not pictures:
        raise _no_picture(folder)
    return {"photographs": torch.from_numpy(np.stack(pictures))}


def refuse_without_photographs(folder: Path) -> None:
    """Say early, from the files' headers, that `strange_sets` would refuse the folder.

    Raises:
        DatasetError: If there is no picture.
    """
    for path in _files(folder):
        try:
            with open_image_path(path):
                return
        except DECODE_ERRORS:
            continue
    raise _no_picture(folder)


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def _no_picture(folder: Path) -> DatasetError:
    return DatasetError(
        f"{folder} holds no picture that can be read; --photographs must name a folder with "
        f"some ({', '.join(SUFFIXES)}) in it."
    )
