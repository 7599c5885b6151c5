"""Labelled images as uint8 arrays in four splits.

`fashion_mnist` and `folder` read a source into a `Dataset`; training, evaluation and export do
not depend on the source.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Protocol, Self

import torch
from torch import Tensor

from model.preprocessing import Preprocessing

Batch = tuple[Tensor, Tensor]
"""uint8 images (N, S, S, C) and int64 targets (N,)."""
SPLIT_NAMES = ("train", "validation", "calibration", "test")
PURPOSES = {
    "train": "train",
    "validation": "validate",
    "calibration": "calibrate",
    "test": "test",
}


class DatasetError(Exception):
    """The images or their labels cannot be used; the message says why and what to do."""


class Split(Protocol):
    """Preprocessed images and their targets, in memory or decoded when they are needed.

    Take all images in batches (`training.data.loader.in_batches`), and select some before they are
    read: `split[positions].images`.
    """

    @property
    def images(self) -> Tensor:
        """All of them at once, uint8 (N, S, S, C)."""

    @property
    def targets(self) -> Tensor:
        """int64 (N,), positions in the data set's labels."""

    @property
    def image_size(self) -> int:
        """S, in pixels."""

    @property
    def nbytes(self) -> int:
        """Bytes that the images take in memory."""

    @property
    def is_streamed(self) -> bool:
        """Whether images are decoded when they are needed."""

    def __len__(self) -> int:
        """Count the images."""

    def __getitem__(self, indices: slice | Sequence[int] | Tensor) -> "Split":
        """Select some of the images."""

    def with_targets(self, targets: Tensor) -> "Split":
        """Give the same images other targets."""

    def digests(self) -> Iterable[bytes]:
        """Give what is the same for copies of an image."""


@dataclass(frozen=True)
class MemorySplit:
    """A split whose images are held in memory: the fastest there is.

    Attributes:
        images: uint8 (N, S, S, C).
        targets: int64 (N,), positions in the data set's labels.
    """

    images: Tensor
    targets: Tensor
    is_streamed = False

    @property
    def image_size(self) -> int:
        """S, in pixels."""
        return self.images.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes that the images take in memory."""
        return self.images.nbytes

    def __len__(self) -> int:
        """Count the images."""
        return len(self.targets)

    def __getitem__(self, indices: slice | Sequence[int] | Tensor) -> Self:
        """Select some of the images."""
        return type(self)(self.images[indices], self.targets[indices])

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return a whole batch at once; torch's loader calls this, not `__getitem__`."""
        return self.images[indices], self.targets[indices]

    def with_targets(self, targets: Tensor) -> Self:
        """Give the same images other targets."""
        return replace(self, targets=targets)

    def digests(self) -> Iterator[bytes]:
        """Hash the pixels of each image: copies are found in whatever format their files are."""
        return (blake2b(image, digest_size=16).digest() for image in self.images.numpy())


def no_images() -> MemorySplit:
    """Return an empty split, of a data set that has no such split."""
    return MemorySplit(torch.empty((0, 0, 0, 0), dtype=torch.uint8), torch.empty(0).long())


@dataclass(frozen=True)
class Dataset:
    """A named set of labelled images in four splits.

    A split that the reader was not asked for is empty. Some data sets have no test split, and
    small ones no calibration split.

    Attributes:
        name: For manifests and run folders.
        source: Where it was read from.
        sha256: Of its files; two data sets with one digest hold the same images.
        other_digests: Gives the other digests that runs may have recorded these images with.
        labels: Names, in the order of the targets.
        preprocessing: Made the arrays, and goes into the artifact. Mean and standard deviation
            are those of the training split; 0 and 1 if a folder was read without it.
        train: The network learns from it.
        validation: Chooses the checkpoint, the calibrator and the recipe.
        calibration: Chooses nothing; sets the thresholds of conformal sets and OOD scores.
        test: Measures, once, at the end. See `measuring` for data without it.
        unreadable: Files that were left out, each with the reason.
        shorter_sides: Shorter side of each validation image's file, in pixels; empty where it is
            the size of the arrays.
        licence: Of the images, by its usual short name; None: not known.
        files: The files of each split, in its order; empty where one file holds them all.
        is_drawn: Whether this reading chose some of the splits by the images' content.
        notes: How a folder was read: which of its folders are splits, which are no label.
        labels_csv: The table that its labels are from, where there was one.
    """

    name: str
    source: str
    sha256: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    validation: Split
    test: Split
    unreadable: tuple[str, ...] = ()
    shorter_sides: tuple[int, ...] = ()
    licence: str | None = None
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_drawn: bool = False
    notes: tuple[str, ...] = ()
    labels_csv: str | None = None
    other_digests: Callable[[], Collection[str]] = tuple
    calibration: Split = field(default_factory=no_images)

    def describe(self) -> str:
        """Say in one line how many images were read for which purpose."""
        read = {name: split for name, split in self.splits.items() if len(split)}
        counts = " + ".join(f"{len(split):,}" for split in read.values())
        *others, last = (PURPOSES[name] for name in read)
        purposes = f"{', '.join(others)} and {last}" if others else last
        size, channels = self.preprocessing.crop, self.preprocessing.channels
        return (
            f"{self.name}: {counts} images to {purposes}, {len(self.labels)} labels, "
            f"{size} x {size} x {channels}"
        )

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name."""
        return {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
            "test": self.test,
        }

    @property
    def measuring(self) -> str:
        """Name of the split that measures: the test split, or validation where there is none."""
        return "test" if len(self.test) or not len(self.validation) else "validation"

    @property
    def thresholding(self) -> str:
        """Name of the split that sets thresholds: calibration, or validation without it."""
        return "calibration" if len(self.calibration) else "validation"

    def has_digest(self, sha256: str) -> bool:
        """Whether a run that recorded this digest had the same images."""
        return sha256 == self.sha256 or sha256 in self.other_digests()

    def limited(self, images: int) -> "Dataset":
        """Keep the first images of each split, for a quick trial."""
        return replace(
            self,
            train=self.train[:images],
            validation=self.validation[:images],
            calibration=self.calibration[:images],
            test=self.test[:images],
            files={name: files[:images] for name, files in self.files.items()},
            shorter_sides=self.shorter_sides[:images],
        )


def random_subset(count: int, most: int) -> Tensor:
    """Choose at most so many positions of a split at random: a folder's are sorted by label."""
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most]


def sample(split: Split, most: int) -> Split:
    """Choose at most so many images of a split at random."""
    return split[random_subset(len(split), most)]


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of uint8 (N, S, S, C) per channel, in [0, 1].

    From a histogram of the 256 values, so exact for any number of images.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        counts = torch.zeros(256, dtype=torch.float64)
        for some in torch.split(images, 1000):  # all of them may exceed the memory
            counts += torch.bincount(some[..., channel].flatten(), minlength=256)
        mean = (counts @ values) / counts.sum()
        variance = (counts @ (values - mean).square()) / counts.sum()
        means.append(round(mean.item(), 4))
        deviations.append(round(max(variance.sqrt().item(), 1 / 255), 4))
    return tuple(means), tuple(deviations)
