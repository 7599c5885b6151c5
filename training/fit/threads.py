"""How many threads compute: tried before the run, then the same to its end.

Beside other busy processes one thread is often faster than all: threads of one operation wait for
each other. The number decides how sums are split, and so the last bits of the weights. A run that
is resumed or reproduced takes the number of the first one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from training.distributed import processes
from training.runs.environment import Environment

TRIED_STEPS = 3
"""With each number, after a first step that is not counted: it sets up."""
WORTH = 0.95
"""Share of the time of fewer threads that a step with more must stay under."""


def thread_counts() -> list[int]:
    """List the numbers to try: all, half, and one; a single one where it is decided already.

    It is where `OMP_NUM_THREADS` says so, under torchrun, which sets that, and on a GPU.
    """
    most = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ or processes().by_torchrun or torch.cuda.is_available():
        return [most]
    return sorted({most, -(-most // 2), 1}, reverse=True)


def threads_of(environment: Environment | None) -> int | None:
    """Give the number that a run has; None where it is not known, or was for other processes.

    With another number of processes the last bits differ anyway, and the cores are divided anew.
    """
    if environment is None or environment.processes != processes().world_size:
        return None
    return environment.threads


@contextmanager
def computing_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads; None changes nothing."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ThreadTrial(Callback):
    """Times steps, with the next number of threads at each.

    Args:
        counts: Numbers to try.
        budget_s: Once each was tried, no further step begins after so many seconds; none at all
            after three times as many.

    Attributes:
        seconds: Of each step so far, by the number of threads.
    """

    def __init__(self, counts: list[int], budget_s: float) -> None:
        self.seconds: dict[int, list[float]] = {count: [] for count in counts}
        self._counts = counts
        self._budget_s = budget_s
        self._step = 0
        self._began = 0.0

    @property
    def max_steps(self) -> int:
        """Steps of a whole trial."""
        return (1 + TRIED_STEPS) * len(self._counts)

    def on_train_batch_start(self, *_: Any) -> None:
        """Take the next number."""
        torch.set_num_threads(self._counts[self._step % len(self._counts)])
        self._began = perf_counter()

    def on_train_batch_end(self, trainer: Trainer, _: LightningModule, *__: Any) -> None:
        """Note the time; stop where the budget is spent."""
        count = self._counts[self._step % len(self._counts)]
        self.seconds[count].append(perf_counter() - self._began)
        self._step += 1
        spent = sum(map(sum, self.seconds.values()))
        limit = self._budget_s if all(self.seconds.values()) else 3 * self._budget_s
        trainer.should_stop = spent > limit

    def step_seconds(self) -> dict[int, float]:
        """Seconds of a step with each number that was tried, the first left out if possible."""
        return {
            count: median(seconds[1:] or seconds)
            for count, seconds in sorted(self.seconds.items())
            if seconds
        }


def fastest(step_seconds: dict[int, float]) -> int:
    """Choose the number of threads; more only where they are faster by a margin."""
    best, *others = sorted(step_seconds)
    for count in others:
        if step_seconds[count] < WORTH * step_seconds[best]:
            best = count
    return best
