"""A split whose images are decoded when they are needed: too many for the memory, or cropped anew.

A file that turns out to be broken keeps its place in the split: the next readable image of its
label is taken in its stead, the same in each epoch, and it is reported.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from model.images.image_file import DECODE_ERRORS, open_image_file
from model.preprocessing import Pixels, Preprocessing, preprocess, shrink_on_load, upright
from training.data.dataset import DatasetError
from training.data.headers import reason
from training.data.memory import image_bytes, usable_memory
from training.data.random_crop import RandomCrop
from training.data.splits import LabelledFile, plain

MAX_NAMED = 10
"""Broken files that are named one by one."""

log = logging.getLogger(__name__)


class Paths:
    """Paths of files in one block of memory, which worker processes share.

    A list of a million objects would be copied page by page by each of them, as their reference
    counts change.

    Args:
        paths: The files'.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        names = [os.fsencode(path) for path in paths]
        self._names = b"".join(names)
        self._ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        self._starts = self._ends - np.array([len(name) for name in names], dtype=np.int64)

    def __len__(self) -> int:
        """Count the files."""
        return len(self._ends)

    def __getitem__(self, position: int) -> Path:
        """Return one of them."""
        return Path(os.fsdecode(self._name(position)))

    def read(self, position: int) -> bytes:
        """Read a file: in a third of the time that `Path` takes."""
        with open(self._name(position), "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall()

    def _name(self, position: int) -> bytes:
        return self._names[self._starts[position] : self._ends[position]]

    def chosen(self, indices: slice | Sequence[int] | NDArray[np.int64]) -> "Paths":
        """Select some of the files."""
        some = Paths(())
        some._names, some._starts, some._ends = (
            self._names,
            self._starts[indices],
            self._ends[indices],
        )
        return some


class Loaded(NamedTuple):
    """Some images, decoded: uint8 (N, S, S, C).

    Attributes:
        broken: The files that could not be read, each with the reason.
        lost: Why there is no image in the place of one of them; empty where there is.
    """

    images: Tensor
    broken: tuple[str, ...]
    lost: str


class BrokenFiles:
    """Reports each file that turns out to be broken once."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def report(self, loaded: Loaded) -> None:
        """Name the first files one by one, and say that there are more.

        Raises:
            DatasetError: If no image could take the place of one of them.
        """
        for why in loaded.broken:
            if why not in self.seen:
                self.seen.add(why)
                self._say(why)
        if loaded.lost:
            raise DatasetError(loaded.lost)

    def _say(self, why: str) -> None:
        if len(self.seen) <= MAX_NAMED:
            log.warning("left out: %s; the next image of its label replaces it", why)
        elif len(self.seen) == MAX_NAMED + 1:
            log.warning("left out: more than %d files that cannot be read", MAX_NAMED)


@dataclass(frozen=True)
class StreamedSplit:
    """A split whose images are decoded when they are needed.

    Attributes:
        paths: Of the files.
        targets: int64 (N,), positions in the data set's labels.
        spec: What decoding makes of them.
        keys: Of the files' contents, uint8 (N, 16).
        crop: Cut anew in each epoch; None: the centre square.
    """

    paths: Paths
    targets: Tensor
    spec: Preprocessing
    keys: NDArray[np.uint8]
    crop: RandomCrop | None = None
    is_streamed = True

    @property
    def image_size(self) -> int:
        """S, in pixels."""
        return self.spec.crop

    @property
    def nbytes(self) -> int:
        """Bytes that the images take in memory: none."""
        return 0

    @property
    def images(self) -> Tensor:
        """All of them at once, uint8 (N, S, S, C).

        Raises:
            ValueError: If they would take more than half of the memory.
            DatasetError: If a label has no readable image.
        """
        if 2 * len(self) * image_bytes(self.spec) > usable_memory():
            raise ValueError(f"All {len(self):,} images do not fit into memory; select some.")
        size = self.spec.crop
        images = torch.empty((len(self), size, size, self.spec.channels), dtype=torch.uint8)
        broken = BrokenFiles()
        with ThreadPoolExecutor() as pool:  # Pillow releases the interpreter's lock
            positions = range(len(self))
            for row, loaded in enumerate(pool.map(lambda row: self.load([row]), positions)):
                broken.report(loaded)
                images[row] = loaded.images[0]
        return images

    def __len__(self) -> int:
        """Count the images."""
        return len(self.targets)

    def __getitem__(self, indices: slice | Sequence[int] | Tensor) -> Self:
        """Select some of the images."""
        chosen = indices.numpy() if isinstance(indices, Tensor) else indices
        return replace(
            self,
            paths=self.paths.chosen(chosen),
            targets=self.targets[indices],
            keys=self.keys[chosen],
        )

    def with_targets(self, targets: Tensor) -> Self:
        """Give the same images other targets."""
        return replace(self, targets=targets)

    def digests(self) -> Iterator[bytes]:
        """Give the content key of each file: copies of files are found, not of pixels."""
        return (key.tobytes() for key in self.keys)

    def load(self, keys: Sequence[int]) -> Loaded:
        """Decode some images.

        Args:
            keys: `epoch * len(split) + position` of each.
        """
        spec = self.spec
        images: list[Tensor] = []
        broken: list[str] = []
        lost = ""
        for key in keys:
            epoch, position = divmod(key, len(self))
            pixels = self._read(epoch, position, broken)
            if pixels is None:
                lost = f"No readable image can replace {plain(self.paths[position])}."
                pixels = np.zeros((spec.crop, spec.crop, spec.channels), np.uint8)
            images.append(torch.from_numpy(pixels))
        # In a worker it stacks them in the memory that is shared: one copy instead of two.
        return Loaded(default_collate(images), tuple(broken), lost)

    def _read(self, epoch: int, position: int, broken: list[str]) -> Pixels | None:
        """Decode an image, or the next readable one of its label; None if there is none."""
        for candidate in self._candidates(position):
            try:
                return self._decode(self.paths.read(candidate), epoch, position)
            except DECODE_ERRORS as error:
                broken.append(reason(LabelledFile(self.paths[candidate], 0), error))
        return None

    def _candidates(self, position: int) -> Iterator[int]:
        """Yield a position, then those after it with the same target, and those from the start."""
        yield position
        same = (self.targets == self.targets[position]).nonzero().flatten().tolist()
        after = same.index(position) + 1
        yield from same[after:] + same[: after - 1]

    def _decode(self, data: bytes, epoch: int, position: int) -> Pixels:
        if self.crop is not None:
            return self.crop.decode(data, self.spec, epoch, position)
        image = open_image_file(data)
        shrink_on_load(image, self.spec)
        return preprocess(upright(image, self.spec.grey_bits), self.spec)
