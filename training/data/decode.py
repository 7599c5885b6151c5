"""Decode the files of a split into one array, or only hash them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from model.images.image_file import DECODE_ERRORS, open_image_file
from model.preprocessing import Pixels, Preprocessing, preprocess, shrink_on_load, upright
from training.data.dataset import MemorySplit, Split
from training.data.division import Key, key_of
from training.data.headers import reason
from training.data.splits import LabelledFile, inside

Result = TypeVar("Result")


class Decoded(NamedTuple):
    """What was read of a split's files.

    Attributes:
        split: Images and targets; empty if the files were only hashed.
        files: Names of the files that could be read, in order.
        targets: Of those files.
        shorter_sides: Of their images, in pixels; empty if the files were only hashed.
        digests: SHA-256 of each file; of files that are streamed, their keys.
        keys: Of their contents.
        unreadable: The other files, each with the reason.
    """

    split: Split
    files: tuple[str, ...]
    targets: tuple[int, ...]
    shorter_sides: tuple[int, ...]
    digests: tuple[bytes, ...]
    keys: tuple[Key, ...]
    unreadable: tuple[str, ...]


def decode_files(files: Sequence[LabelledFile], spec: Preprocessing, root: Path) -> Decoded:
    """Decode a split into one array; files that turn out to be broken are left out."""

    def decode(data: bytes) -> tuple[Pixels, int]:
        image = open_image_file(data)
        shorter_side = min(image.size)
        shrink_on_load(image, spec)
        return preprocess(upright(image, spec.grey_bits), spec), shorter_side

    images = np.empty((len(files), spec.crop, spec.crop, spec.channels), np.uint8)
    good: list[LabelledFile] = []
    digests, keys, shorter_sides, unreadable = [], [], [], []
    for file, result in _each(files, decode):
        if isinstance(result, str):
            unreadable.append(result)
            continue
        digest, key, (images[len(good)], shorter_side) = result
        good.append(file)
        digests.append(digest)
        keys.append(key)
        shorter_sides.append(shorter_side)
    targets = tuple(file.target for file in good)
    return Decoded(
        MemorySplit(torch.from_numpy(images[: len(good)]), torch.tensor(targets, dtype=torch.long)),
        tuple(inside(file, root) for file in good),
        targets,
        tuple(shorter_sides),
        tuple(digests),
        tuple(keys),
        tuple(unreadable),
    )


def hash_files(files: Sequence[LabelledFile], spec: Preprocessing, root: Path) -> Decoded:
    """Hash a split's files without decoding them, for the digest of the whole data set."""
    results = list(_each(files, lambda _: None))
    good = [(file, *result[:2]) for file, result in results if not isinstance(result, str)]
    blank = torch.empty((0, spec.crop, spec.crop, spec.channels), dtype=torch.uint8)
    return Decoded(
        MemorySplit(blank, torch.empty(0, dtype=torch.long)),
        tuple(inside(file, root) for file, _, _ in good),
        tuple(file.target for file, _, _ in good),
        (),
        tuple(digest for _, digest, _ in good),
        tuple(key for _, _, key in good),
        tuple(result for _, result in results if isinstance(result, str)),
    )


def _each(
    files: Sequence[LabelledFile], work: Callable[[bytes], Result]
) -> Iterator[tuple[LabelledFile, tuple[bytes, Key, Result] | str]]:
    """Read files in a pool of threads; yield digest, key and result, or why one is unreadable."""

    def read(file: LabelledFile) -> tuple[bytes, Key, Result] | str:
        try:
            data = file.path.read_bytes()
            return hashlib.sha256(data).digest(), key_of(data), work(data)
        except DECODE_ERRORS as error:
            return reason(file, error)

    with ThreadPoolExecutor() as pool:  # Pillow releases the interpreter's lock while it decodes
        yield from zip(files, pool.map(read, files), strict=True)
