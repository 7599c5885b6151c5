"""Batches of a split, in an order that depends on the epoch alone."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler

from training.data.dataset import Batch, Split
from training.distributed import processes


def at_once(side: int) -> int:
    """Say how many pictures to look at together: as many pixels as 500 small ones have.

    Args:
        side: Of the pictures, in pixels.
    """
    return max(1, min(500, 500 * 32**2 // side**2))


class EpochOrder(DistributedSampler[Batch]):
    """A shuffle that depends on the seed and the epoch alone, and can begin in its middle.

    Args:
        split: What is shuffled; under torchrun each process gets its share.
        seed: Of the shuffle.

    Attributes:
        seen: So many pictures of this process's share are left out of the next epoch that is
            begun: those that a run had seen before it was stopped.
    """

    def __init__(self, split: Split, seed: int) -> None:
        """Take this process's share."""
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
        """Give the epoch's order, once without the pictures that were seen already."""
        seen, self.seen = self.seen, 0
        return islice(super().__iter__(), seen, None)


def loader(split: Split, batch_size: int, shuffle_seed: int | None = None) -> DataLoader[Batch]:
    """Give a split batch by batch, in its own order or shuffled anew each epoch.

    The order depends on the seed and the epoch alone, so a resumed run sees what it would
    have seen. The pictures are in memory already: worker processes would only copy them.

    A shuffled last batch of a single picture is left out, another one each epoch: a batch norm
    over one number per channel has no variance to learn from, and torch refuses it.
    """
    order = None if shuffle_seed is None else EpochOrder(split, shuffle_seed)
    leaves_one = order is not None and len(order) > batch_size and len(order) % batch_size == 1
    return DataLoader(
        split,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=order,
        drop_last=leaves_one and batch_size > 1,
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # a whole batch, not a list of pictures
    )


def _as_it_is(batch: Batch) -> Batch:
    return batch
