"""What an epoch will take: measured on a few steps of a network that is thrown away.

The steps are the run's own, by the run's own loop. Its dice and its weights are not
touched, so that a run that was measured is the very run that was not.
"""

import os
import resource
import sys
import time
from statistics import mean
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from training.data.dataset import Dataset
from training.fit.module import Classifier
from training.fit.trainer import throw_away_run
from training.runs.record import RunRecord

STEPS = 5
"""The first is not counted: it sets up."""
ENOUGH_S = 10.0
"""Seconds after which fewer steps must do."""
FORWARD = 1 / 3
"""Share of a training step's time that a picture's way forward takes, about."""


class Pace(NamedTuple):
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
        trainer.should_stop = sum(self.seconds) > ENOUGH_S


def measure_pace(dataset: Dataset, record: RunRecord) -> Pace | None:
    """Run a few steps aside; None under torchrun, whose processes would have to meet.

    Args:
        dataset: What the run will learn from.
        record: Of the run.
    """
    if "LOCAL_WORLD_SIZE" in os.environ:
        return None
    recipe = record.recipe
    seconds = _time_steps(dataset, record, STEPS)
    step = mean(seconds[1:] or seconds)
    if len(seconds) < STEPS and recipe.first_scale < recipe.last_scale:  # not yet at full size
        grown = recipe.model_copy(update={"first_scale": recipe.last_scale})
        seconds += _time_steps(dataset, record.model_copy(update={"recipe": grown}), 1)
        step = (step + seconds[-1]) / 2
    pictures = len(dataset.train) + FORWARD * len(dataset.validation)
    size = min(recipe.batch_size, len(dataset.train))
    return Pace(len(seconds), step, step * pictures / size, peak_memory())


def _time_steps(dataset: Dataset, record: RunRecord, most: int) -> list[float]:
    """Take so many steps, or fewer where they are slow; seconds of each."""
    clock = _Clock()
    with torch.random.fork_rng():
        throw_away_run(dataset, Classifier(record), clock, most)
    return clock.seconds


def peak_memory() -> int:
    """Most bytes that this process held at once so far; on a GPU, there."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # kibibytes on Linux
