"""Batches of a split, in an order that depends on the epoch alone.

Images in memory are only selected. Those of a streamed split are decoded by worker processes,
which stay from one epoch to the next.
"""

import os
import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from training.data.dataset import DatasetError, Split
from training.data.streamed import BrokenFiles, Loaded, StreamedSplit
from training.distributed import processes

EVAL_BATCH_SIZE = 500
"""Images of up to 32 x 32 pixels in a batch of evaluation."""
MAX_WORKERS = 16
"""Of one process."""
MIN_IMAGES_FOR_WORKERS = 64
"""Fewer are decoded by the process itself, before workers would have started."""


def eval_batch_size(image_size: int) -> int:
    """Return the batch size of evaluation: the pixels of 500 small images, 500 images at most.

    Args:
        image_size: In pixels.
    """
    return max(1, min(EVAL_BATCH_SIZE, EVAL_BATCH_SIZE * 32**2 // image_size**2))


class EpochOrder(Sampler[int]):
    """A shuffle that depends on the seed and the epoch alone, and can start in the middle.

    Of n processes each takes every n-th image. Their batches of a step are together the batch that
    one process would take, whatever n is.

    Args:
        split: The images to shuffle.
        batch_size: Images that this process takes at once.
        seed: Of the shuffle.

    Attributes:
        epoch: Set by Lightning (`set_epoch`).
        seen: How many images of this process's share the next epoch skips: those that a run had
            seen before it was stopped.
    """

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        here = processes()
        self.epoch = self.seen = 0
        self._seed = seed
        self._images = len(split)
        self._stride = len(split) if split.is_streamed else 0
        taken = images_an_epoch(len(split), batch_size, here.world_size)
        self._share = range(here.rank, taken, here.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the images of this process in an epoch."""
        return len(self._share)

    def __iter__(self) -> Iterator[int]:
        """Yield the epoch's order; the images that were seen already are skipped once.

        Positions in a streamed split grow with the epoch (`StreamedSplit.load`): workers that
        stay know the epoch from them.
        """
        seen, self.seen = self.seen, 0
        first = self.epoch * self._stride
        generator = torch.Generator().manual_seed(self._seed + self.epoch)
        order = torch.randperm(self._images, generator=generator).tolist()
        return (first + order[place % self._images] for place in self._share[seen:])


def images_an_epoch(images: int, batch_size: int, world_size: int) -> int:
    """Count the images that all processes take in an epoch.

    A batch norm over one number per channel has no variance, and torch refuses it. So a last batch
    of a single image is dropped, a different image each epoch. A last batch of fewer than two
    images a process is filled with the first ones of the epoch. The number of steps does not depend
    on the number of processes.

    Args:
        images: Of the split.
        batch_size: Of a process.
        world_size: Processes.
    """
    whole, rest = divmod(images, batch_size * world_size)
    if whole and rest == 1:
        return images - 1
    least = min(2, batch_size) * world_size
    return images - rest + least if world_size > 1 and 0 < rest < least else images


class _Decoding(NamedTuple):
    """What a worker hands over: a batch, and the seconds that it took."""

    loaded: Loaded
    targets: Tensor
    seconds: float


class _Decoder(Dataset[_Decoding]):
    """A streamed split as torch's loader reads it."""

    def __init__(self, split: StreamedSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, keys: list[int]) -> _Decoding:
        began = perf_counter()
        loaded = self.split.load(keys)
        targets = self.split.targets[[key % len(self) for key in keys]]
        return _Decoding(loaded, targets, perf_counter() - began)


@dataclass
class Pace:
    """What the batches of an epoch took.

    Attributes:
        images: In the batches that were handed out.
        used: In those whose step is over.
        decoding_s: Seconds that workers decoded, all of them together.
        waiting_s: Seconds that the step waited for the loader.
        step_s: Seconds between batches.
        workers: How many decoded at a time.
    """

    images: int = 0
    used: int = 0
    decoding_s: float = 0.0
    waiting_s: float = 0.0
    step_s: float = 0.0
    workers: int = 1

    def loaded_per_second(self) -> float | None:
        """Images a second that the workers could decode; None if there was none."""
        return self.images * self.workers / self.decoding_s if self.decoding_s else None

    def describe(self) -> str:
        """Say how many images a second loader and step could do, and which of them waits."""
        loads, steps = self.loaded_per_second(), self.used / self.step_s if self.step_s else None
        if loads is None or steps is None:
            return ""
        share = self.waiting_s / (self.waiting_s + self.step_s)
        who = f"the step waits {share:.0%} of the time" if loads < steps else "the loader waits"
        return f"loader {loads:,.0f} images/s, step {steps:,.0f}: {who}"


class StreamingLoader(DataLoader[_Decoding]):
    """Yields batches whose images workers decode ahead, and notes the pace.

    Attributes:
        pace: Of the present epoch, or of the last one.
    """

    pace = Pace()
    _broken: BrokenFiles | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own class
        """Start at the first batch that is asked for, not before.

        Workers are given work as soon as they start. Lightning asks for an iterator before it
        tells the epoch, and before `ExactResume` says how much of it was seen.

        Raises:
            DatasetError: If no image can be read in the place of a broken one, or a worker died.
        """
        self.pace = pace = Pace(workers=max(1, self.num_workers))
        self._broken = broken = self._broken or BrokenFiles()
        with warnings.catch_warnings():
            # Workers neither compute nor print: a fork of a process with threads is safe for them.
            warnings.simplefilter("ignore", DeprecationWarning)
            batches = super().__iter__()
        while True:
            asked = perf_counter()
            try:
                loaded, targets, seconds = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not (died := worker_died(error)):
                    raise
                raise DatasetError(died) from error
            broken.report(loaded)
            pace.images += len(targets)
            pace.decoding_s += seconds
            handed = perf_counter()
            pace.waiting_s += handed - asked
            yield loaded.images, targets
            pace.step_s += perf_counter() - handed
            pace.used += len(targets)


def loader(
    split: Split, batch_size: int, shuffle_seed: int | None = None, *, share: bool = False
) -> DataLoader[Any]:
    """Load a split in batches, in its own order or shuffled anew each epoch.

    The order depends on the seed and the epoch alone, so a resumed run sees the same batches.

    Args:
        split: The images.
        batch_size: Images that this process takes at once.
        shuffle_seed: Of the shuffle; None: the split's own order.
        share: Take this process's images alone, in the split's order: each image is in exactly one
            share. Shuffled ones are always shared.
    """
    order: EpochOrder | range | None = None
    if shuffle_seed is not None:
        order = EpochOrder(split, batch_size, shuffle_seed)
    elif share:
        order = range(processes().rank, len(split), processes().world_size)
    if not isinstance(split, StreamedSplit):
        return DataLoader(
            split,  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=order,
            collate_fn=_identity,  # a whole batch, not a list of images
        )
    workers = _workers(split)
    return StreamingLoader(
        _Decoder(split),
        batch_size=batch_size,
        sampler=order,
        collate_fn=_identity,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_interrupts_to_the_run,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else it would draw from the run's random numbers
    )


def in_batches(images: Split | Tensor) -> Iterator[Tensor]:
    """Yield all images in order, uint8 (N, S, S, C), in batches of evaluation."""
    if isinstance(images, StreamedSplit):
        for batch, _ in loader(images, eval_batch_size(images.image_size)):
            yield batch
        return
    whole = images if isinstance(images, Tensor) else images.images
    yield from torch.split(whole, eval_batch_size(whole.shape[1]))


def _workers(split: StreamedSplit) -> int:
    """Count the workers of this process: one for each core of its share of the machine."""
    if len(split) < MIN_IMAGES_FOR_WORKERS:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MAX_WORKERS, (cores or 1) // processes().local_world_size))


def worker_died(error: BaseException) -> str:
    """Say in one line that a worker has died; empty if the error is another one.

    torch notices it wherever the process happens to be: in a step, too.
    """
    what = str(error).split(". ")[0].strip()
    if not (isinstance(error, RuntimeError) and what.startswith("DataLoader worker")):
        return ""
    return (
        f"A process that decodes images has ended ({what}). In a container, give it "
        "more shared memory (docker run --shm-size=1g); otherwise free some memory, "
        "or use a smaller batch_size."
    )


def _leave_interrupts_to_the_run(_: int) -> None:
    """Go on after Ctrl+C, which the terminal sends to workers too: the run ends between steps."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _identity(batch: Any) -> Any:
    return batch
