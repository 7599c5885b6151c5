"""What every source of labelled pictures becomes: uint8 arrays, split in three.

`fashion_mnist` and `folder` read a source into a `Dataset`; training, evaluation and
export know nothing of where it came from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from model.preprocessing import Preprocessing

Batch = tuple[Tensor, Tensor]
"""uint8 pictures (N, S, S, C) and int64 targets (N,)."""


class DatasetError(Exception):
    """The pictures or their labels cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Split:
    """Pictures and their targets, preprocessed.

    Attributes:
        images: uint8 (N, S, S, C).
        targets: int64 (N,), positions in the data set's labels.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.targets)

    def __getitem__(self, indices: slice | Sequence[int] | Tensor) -> "Split":
        """Choose some of the pictures."""
        return Split(self.images[indices], self.targets[indices])

    def __getitems__(self, indices: list[int]) -> Batch:
        """Give one whole batch at once; torch's loader calls this, not `__getitem__`."""
        return self.images[indices], self.targets[indices]


@dataclass(frozen=True)
class Dataset:
    """A named set of labelled pictures in three splits.

    Attributes:
        name: For manifests and run folders.
        source: Where it was read from.
        sha256: Of its files; two data sets with one digest are the same pictures.
        labels: Names, in the order of the targets.
        preprocessing: What made the arrays, and what the artifact will carry.
        train: What the network learns from.
        validation: What chooses the checkpoint, the temperature and the recipe.
        test: What is looked at once, at the end.
        unreadable: Files that were left out, each with the reason.
        sides: Shorter side of each validation picture's file in pixels; none where they are the
            arrays' own.
        licence: Of the pictures, by its usual short name; None: not known.
        files: For each split's name, the pictures' files in order; none where one file
            holds them all.
        is_drawn: Whether this reading drew the splits, or some of them, by its seed.
        notes: How a folder was read: which of its folders are splits, what is no label.
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
    sides: tuple[int, ...] = ()
    licence: str | None = None
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_drawn: bool = False
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def limited(self, pictures: int) -> "Dataset":
        """Keep the first pictures of each split: for a quick look at the whole way."""
        return replace(
            self,
            train=self.train[:pictures],
            validation=self.validation[:pictures],
            test=self.test[:pictures],
            files={name: files[:pictures] for name, files in self.files.items()},
            sides=self.sides[:pictures],
        )


def spread(count: int, most: int) -> Tensor:
    """Choose up to so many positions all over a split: those of a folder come label by label."""
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most]


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of uint8 (N, S, S, C) per channel, in [0, 1].

    From a histogram of the 256 values, so exact however many pictures there are.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        counts = torch.zeros(256, dtype=torch.float64)
        for some in torch.split(images, 1000):  # they may be more than the memory holds
            counts += torch.bincount(some[..., channel].flatten(), minlength=256)
        mean = (counts @ values) / counts.sum()
        variance = (counts @ (values - mean).square()) / counts.sum()
        means.append(round(mean.item(), 4))
        deviations.append(round(max(variance.sqrt().item(), 1 / 255), 4))
    return tuple(means), tuple(deviations)
