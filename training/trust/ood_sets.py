"""Images that a network was not trained for, to measure whether it detects them.

Noise, inverted and shuffled images exist for any data set, scikit-learn's digits where it is
installed, and photographs where the user names a folder.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.images.image_file import DECODE_ERRORS, open_image_file, open_image_path
from model.preprocessing import Preprocessing, preprocess, shrink_on_load, upright
from training.data.dataset import DatasetError, random_subset
from training.data.tree import IMAGE_SUFFIXES

MAX_DISTORTED = 2_000


def distort(images: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Make three OOD sets of uint8 (N, S, S, C): noise, inverted, shuffled."""
    images = images[random_subset(len(images), MAX_DISTORTED)]
    rng = torch.Generator().manual_seed(seed)
    count, image_size, _, channels = images.shape
    flat = images.reshape(count, image_size**2, channels)
    shuffled = torch.stack([image[torch.randperm(image_size**2, generator=rng)] for image in flat])
    return {
        "noise": torch.randint(0, 256, images.shape, generator=rng, dtype=torch.uint8),
        "inverted": 255 - images,
        "shuffled": shuffled.reshape(images.shape),
    }


def ood_sets(
    images: Tensor, spec: Preprocessing, folder: Path | None, seed: int = 1
) -> dict[str, Tensor]:
    """Make every OOD set that is available: uint8 (N, S, S, C) each.

    Args:
        images: Of the test split, to distort.
        spec: The network's preprocessing.
        folder: Holds images of anything else; None: there is none.
        seed: For noise and shuffling; it must differ from the validation split's.

    Raises:
        DatasetError: If the folder holds no readable image.
    """
    return distort(images, seed) | _digits(spec) | _photographs(folder, spec)


def check_ood_images(folder: Path) -> None:
    """Raise early, from the files' headers, what `ood_sets` would raise for the folder.

    Raises:
        DatasetError: If the folder holds no readable image.
    """
    for path in _files(folder):
        try:
            with open_image_path(path):
                return
        except DECODE_ERRORS:
            continue
    raise _no_image(folder)


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
    """Preprocess a folder's images as the service does; broken files are left out.

    Raises:
        DatasetError: If no image is left.
    """
    if folder is None:
        return {}
    images = []
    for path in _files(folder):
        try:
            image = open_image_file(path.read_bytes())
            shrink_on_load(image, spec)
            images.append(preprocess(upright(image, spec.grey_bits), spec))
        except DECODE_ERRORS:
            continue
    if not images:
        raise _no_image(folder)
    return {"photographs": torch.from_numpy(np.stack(images))}


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]


def _no_image(folder: Path) -> DatasetError:
    return DatasetError(
        f"{folder} holds no readable image. --ood-images must name a folder with images "
        f"({', '.join(IMAGE_SUFFIXES)})."
    )
