"""Fashion-MNIST from its four IDX files.

60,000 + 10,000 grey images of 28 x 28 pixels, 10 labels, MIT licence. The last 5,000 training
images are the validation split. The files may be packed (.gz) or not; SHA-256 is checked over
the unpacked content. Half of the validation images, chosen by their content, are the calibration
split.

Source:
    Xiao et al., "Fashion-MNIST", 2017 (arXiv 1708.07747). The IDX format is described at
    the foot of the MNIST page: a magic number, big-endian sizes, then bytes.
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.preprocessing import Preprocessing, preprocess
from training.data.dataset import SPLIT_NAMES, Dataset, DatasetError, MemorySplit
from training.data.division import MIN_TO_HALVE, key_of

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PREPROCESSING = Preprocessing(resize=28, crop=28, channels=1, mean=(0.2860,), std=(0.3530,))
VALIDATION_IMAGES = 5_000
FOLDERS = (Path("data/fashion-mnist"), Path("/usr/share/datasets/fashion-mnist"))
"""Where the files may be: beside the project, and where Debian's package puts them."""

SHA256: Mapping[str, str] = MappingProxyType(
    {
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    }
)
HOW_TO_GET_IT = (
    "Install Debian's package `dataset-fashion-mnist`, or put the four files "
    f"({', '.join(name + '.gz' for name in SHA256)}) into {FOLDERS[0]} or name their folder "
    "with --data. They are published at github.com/zalandoresearch/fashion-mnist."
)


class _File(NamedTuple):
    values: Tensor  # uint8, (N, 28, 28) or (N,)
    sha256: str


def has_idx_files(folder: Path) -> bool:
    """Whether a folder holds any of the four files."""
    return any(_find(folder, name) for name in SHA256)


def read_fashion_mnist(
    folder: Path | None = None,
    sha256: Mapping[str, str] | None = SHA256,
    size: int | None = None,
    splits: Collection[str] = SPLIT_NAMES,
    *,
    calibrate: bool = True,
) -> Dataset:
    """Read the four files, check them, and split them.

    Args:
        folder: Where they are; None: one of `FOLDERS`.
        sha256: Digest of each file; None: they are not checked.
        size: To scale the images to, in pixels; None: they are not scaled.
        splits: The splits to scale and return; the others come out empty.
        calibrate: Take half of the validation images for the calibration split.

    Raises:
        DatasetError: If a file is missing, damaged, or not the published one.
    """
    if folder is None:
        folder = next((each for each in FOLDERS if has_idx_files(each)), None)
        if folder is None:
            tried = " or ".join(map(str, FOLDERS))
            raise DatasetError(f"Fashion-MNIST is not in {tried}. {HOW_TO_GET_IT}")
    files = {name: _read(folder, name, sha256) for name in SHA256}
    train = _split(files, "train", folder)
    # a reduced set keeps some images to train on
    held_out = min(VALIDATION_IMAGES, max(1, len(train) // 5))
    chooses, calibrates = _halves(train[-held_out:], calibrate)
    digests = "".join(files[name].sha256 for name in SHA256)
    image_size = size or PREPROCESSING.crop
    spec = PREPROCESSING.model_copy(update={"resize": image_size, "crop": image_size})
    test = _split(files, "t10k", folder)

    def read(name: str, split: MemorySplit) -> MemorySplit:
        return _scaled(split if name in splits else split[:0], spec)

    return Dataset(
        name="fashion-mnist",
        source=str(folder),
        sha256=hashlib.sha256(digests.encode()).hexdigest(),
        labels=LABELS,
        preprocessing=spec,
        train=read("train", train[:-held_out]),
        validation=read("validation", chooses),
        calibration=read("calibration", calibrates),
        test=read("test", test),
        shorter_sides=()
        if image_size == PREPROCESSING.crop
        else (PREPROCESSING.crop,) * len(chooses),
        licence="MIT",
    )


def _halves(split: MemorySplit, calibrate: bool) -> tuple[MemorySplit, MemorySplit]:
    """Divide the last training images into validation and calibration split, by their content."""
    if not calibrate or len(split) < MIN_TO_HALVE:
        return split, split[:0]
    keys = [key_of(image.tobytes())[8:] for image in split.images.numpy()]
    order = sorted(range(len(split)), key=keys.__getitem__)
    calibrates, chooses = sorted(order[: len(order) // 2]), sorted(order[len(order) // 2 :])
    return split[chooses], split[calibrates]


def _scaled(split: MemorySplit, spec: Preprocessing) -> MemorySplit:
    """Scale images by the preprocessing of the server."""
    if spec.crop == split.images.shape[1]:
        return split
    scaled = np.empty((len(split), spec.crop, spec.crop, 1), np.uint8)
    for index, image in enumerate(split.images[..., 0].numpy()):
        scaled[index] = preprocess(Image.fromarray(image), spec)
    return MemorySplit(torch.from_numpy(scaled), split.targets)


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _read(folder: Path, name: str, sha256: Mapping[str, str] | None) -> _File:
    path = _find(folder, name)
    if path is None:
        raise DatasetError(f"{folder} has no {name} or {name}.gz. {HOW_TO_GET_IT}")
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be unpacked ({error}). {HOW_TO_GET_IT}") from error
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256[name]:
        raise DatasetError(
            f"{path} is not the published file: its SHA-256 is {digest[:16]}..., not "
            f"{sha256[name][:16]}.... {HOW_TO_GET_IT}"
        )
    return _File(_parse_idx(content, path), digest)


def _parse_idx(content: bytes, path: Path) -> Tensor:
    """Read unsigned bytes: 0, 0, type 8, number of axes; a size for each axis; the values."""
    axes = content[3] if len(content) > 3 and content[:3] == b"\0\0\x08" else 0
    header = 4 + 4 * axes
    if not 1 <= axes <= 3 or len(content) < header:
        raise DatasetError(f"{path} does not start like an IDX file of bytes.")
    shape = struct.unpack(f">{axes}I", content[4:header])
    if len(content) != header + math.prod(shape):
        raise DatasetError(
            f"{path} should have {shape} values, but has {len(content) - header:,} bytes of them."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())


def _split(files: Mapping[str, _File], prefix: str, folder: Path) -> MemorySplit:
    images = files[f"{prefix}-images-idx3-ubyte"].values
    targets = files[f"{prefix}-labels-idx1-ubyte"].values
    if images.ndim != 3 or targets.shape != images.shape[:1] or len(targets) < 2:
        raise DatasetError(
            f"{folder}: the {prefix} images have shape {tuple(images.shape)} and the targets "
            f"{tuple(targets.shape)}; there must be one target per image, and at least two."
        )
    size = PREPROCESSING.crop
    if images.shape[1:] != (size, size) or int(targets.max()) >= len(LABELS):
        raise DatasetError(f"{folder}: the {prefix} files are not 28 x 28 images of 10 labels.")
    return MemorySplit(images[..., None], targets.long())
