"""Images that a network was not trained for, to measure whether it detects them.

Noise, inverted and shuffled images of the validation split choose the score. Other kinds are
reported: scikit-learn's digits, letters in matplotlib's fonts, parts of scikit-learn's two
photographs, and the user's own folder. Symbols are near-OOD for networks of small grey images,
parts of photographs for those of colour images.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor

from model.artifact.trust import Kind
from model.images.image_file import DECODE_ERRORS, open_image_file, open_image_path
from model.preprocessing import Preprocessing, preprocess, shrink_on_load, upright
from training.data.dataset import DatasetError, random_subset
from training.data.tree import IMAGE_SUFFIXES

MAX_DISTORTED = 2_000
DIGITS = 500
FONTS = ("DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "STIXGeneralItalic")
"""Of matplotlib; each has the letters, upper and lower case."""
SCENES = 200
"""Parts of each of two photographs."""


class OodImages(NamedTuple):
    """Images of one kind.

    Attributes:
        kind: Near if of the format that the network was trained for, far otherwise; of the
            user's own images nothing is known.
        images: uint8 (N, S, S, C).
    """

    kind: Kind
    images: Tensor


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


def ood_sets(spec: Preprocessing, folder: Path | None) -> dict[str, OodImages]:
    """Make the OOD sets that are reported, of none of the kinds that `distort` makes.

    Args:
        spec: The network's preprocessing.
        folder: Holds images of anything else; None: there is none.

    Raises:
        DatasetError: If the folder holds no readable image.
    """
    symbols: Kind = "near" if spec.channels == 1 else "far"
    scenes: Kind = "near" if spec.channels == 3 else "far"
    found = {name: OodImages(symbols, images) for name, images in _digits(spec).items()}
    found["letters"] = OodImages(symbols, _preprocessed(_letters(), spec))
    found["scenes"] = OodImages(scenes, _preprocessed(_scenes(), spec))
    for name, images in _photographs(folder, spec).items():
        found[name] = OodImages("given", images)
    return found


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
    """scikit-learn's digits of 8 x 8 pixels: white on black, and black on white."""
    light = (load_digits().images[:DIGITS] * (255 / 16)).round().astype(np.uint8)
    return {
        "digits": _preprocessed(map(Image.fromarray, light), spec),
        "digits_inverted": _preprocessed(map(Image.fromarray, 255 - light), spec),
    }


def _letters() -> Iterator[Image.Image]:
    """Draw the letters of some fonts, white on black, 28 x 28 pixels."""
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name, letter in product(FONTS, ascii_letters):
        image = Image.new("L", (28, 28))
        font = ImageFont.truetype(fonts / f"{name}.ttf", 22)
        ImageDraw.Draw(image).text((14, 14), letter, fill=255, font=font, anchor="mm")
        yield image


def _scenes() -> Iterator[Image.Image]:
    """Cut squares of 32 to 256 pixels out of a temple and a flower."""
    rng = np.random.default_rng(0)
    for photograph in map(Image.fromarray, load_sample_images().images):
        for size in rng.integers(32, 257, SCENES).tolist():
            left, top = (int(rng.integers(0, side - size)) for side in photograph.size)
            yield photograph.crop((left, top, left + size, top + size))


def _preprocessed(images: Iterable[Image.Image], spec: Preprocessing) -> Tensor:
    return torch.from_numpy(np.stack([preprocess(image, spec) for image in images]))


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
        f"{folder} has no readable image. --ood-images must name a folder with images "
        f"({', '.join(IMAGE_SUFFIXES)})."
    )
