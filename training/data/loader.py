"""Batches of a split, in an order that depends on the epoch alone."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from training.data.dataset import Batch, Split
from training.distributed import processes

EVAL_BATCH_SIZE = 500
"""Images of up to 32 x 32 pixels in a batch of evaluation."""


def eval_batch_size(image_size: int) -> int:
    """Return the batch size of evaluation: the pixels of 500 small images, 500 images at most.

    Args:
        image_size: In pixels.
    """
    return max(1, min(EVAL_BATCH_SIZE, EVAL_BATCH_SIZE * 32**2 // image_size**2))


class EpochOrder(DistributedSampler[Batch]):
    """A shuffle that depends on the seed and the epoch alone, and can start in the middle.

    Args:
        split: The images to shuffle; under torchrun each process gets its share.
        seed: Of the shuffle.

    Attributes:
        seen: How many images of this process's share the next epoch skips: those that a run had
            seen before it was stopped.
    """

    def __init__(self, split: Split, seed: int) -> None:
        here = processes()
        super().__init__(
            split,  # type: ignore[arg-type]  # batches come from `__getitems__`
            num_replicas=here.world_size,
            rank=here.rank,
            shuffle=True,
            seed=seed,
        )
        self.seen = 0

    def __iter__(self) -> Iterator[Any]:
        """Yield the epoch's order; the images that were seen already are skipped once."""
        seen, self.seen = self.seen, 0
        return islice(super().__iter__(), seen, None)


def loader(split: Split, batch_size: int, shuffle_seed: int | None = None) -> DataLoader[Batch]:
    """Load a split in batches, in its own order or shuffled anew each epoch.

    The order depends on the seed and the epoch alone, so a resumed run sees the same batches. The
    images are in memory already: worker processes would only copy them.

    A shuffled last batch of a single image is dropped, a different image each epoch: a batch norm
    over one number per channel has no variance, and torch refuses it.
    """
    order = None if shuffle_seed is None else EpochOrder(split, shuffle_seed)
    leaves_one = order is not None and len(order) > batch_size and len(order) % batch_size == 1
    return DataLoader(
        split,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=order,
        drop_last=leaves_one and batch_size > 1,
        collate_fn=_identity,  # type: ignore[arg-type]  # a whole batch, not a list of images
    )


def in_batches(images: Split | Tensor) -> Iterator[Tensor]:
    """Yield all images in order, uint8 (N, S, S, C), in batches of evaluation."""
    if not isinstance(images, Tensor):
        images = images.images
    yield from torch.split(images, eval_batch_size(images.shape[1]))


def _identity(batch: Batch) -> Batch:
    return batch
