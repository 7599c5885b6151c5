"""How long an epoch will take, measured on a few steps of a network that is thrown away.

The steps are the run's own, in the run's own loop. Measuring does not change the result: the
random state is restored afterwards.
"""

import resource
import sys
import time
from statistics import mean
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from training.data.dataset import Dataset
from training.distributed import processes
from training.fit.module import Classifier
from training.fit.trainer import run_throw_away_steps
from training.runs.record import RunRecord

TIMED_STEPS = 5
"""The first is not counted: it sets up."""
TIME_BUDGET_S = 10.0
"""After that time no further step is measured."""
FORWARD_SHARE = 1 / 3
"""Of a training step's time, for the forward pass of an image; about."""


class StepTime(NamedTuple):
    """Seconds of a training step and, estimated from it, of an epoch; peak memory so far."""

    steps: int
    seconds_per_step: float
    seconds_per_epoch: float
    peak_bytes: int


class _Clock(Callback):
    """Times each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, _: LightningModule, *__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._began)
        trainer.should_stop = sum(self.seconds) > TIME_BUDGET_S


def measure_step_time(dataset: Dataset, record: RunRecord) -> StepTime | None:
    """Time a few steps; None under torchrun, where all processes would have to take part.

    Args:
        dataset: What the run will learn from.
        record: Of the run.
    """
    if processes().by_torchrun:
        return None
    recipe = record.recipe
    seconds = _time_steps(dataset, record, TIMED_STEPS)
    step = mean(seconds[1:] or seconds)
    if len(seconds) < TIMED_STEPS and recipe.resolution_start < recipe.resolution_end:
        # The images were not yet at their full size.
        full = recipe.model_copy(update={"resolution_start": recipe.resolution_end})
        seconds += _time_steps(dataset, record.model_copy(update={"recipe": full}), 1)
        step = (step + seconds[-1]) / 2
    images = len(dataset.train) + FORWARD_SHARE * len(dataset.validation)
    batch_size = min(recipe.batch_size, len(dataset.train))
    return StepTime(len(seconds), step, step * images / batch_size, peak_memory())


def _time_steps(dataset: Dataset, record: RunRecord, max_steps: int) -> list[float]:
    """Take so many steps, or fewer where they are slow; seconds of each."""
    clock = _Clock()
    with torch.random.fork_rng():
        run_throw_away_steps(dataset, Classifier(record), clock, max_steps)
    return clock.seconds


def peak_memory() -> int:
    """Most bytes that this process held at once so far; on a GPU, there."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kibibytes on Linux
