"""How long an epoch will take, and with how many threads it is shortest.

The steps are the run's own, in the run's own loop, on a network that is thrown away. Measuring
does not change the result: the random state is restored afterwards.
"""

import resource
import sys
import time
from collections.abc import Mapping
from statistics import mean
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from training.data.dataset import Dataset
from training.data.loader import Pace
from training.distributed import processes
from training.fit.module import Classifier
from training.fit.threads import ThreadTrial, computing_threads, fastest, thread_counts
from training.fit.trainer import forward_batch_size, run_throw_away_steps
from training.runs.record import RunRecord

TIMED_STEPS = 5
"""The first is not counted: it sets up."""
TIME_BUDGET_S = 10.0
"""After that time no further step is measured."""
FORWARD_SHARE = 1 / 3
"""Of a training step's time, for the forward pass of an image; about."""


class StepTime(NamedTuple):
    """Seconds of a training step and, estimated from it, of an epoch.

    Attributes:
        steps: How many were measured with the chosen number of threads.
        seconds_per_step: With the chosen number of threads.
        seconds_per_epoch: Validation included.
        peak_bytes: Most memory so far.
        threads: The chosen number.
        tried: Seconds of a step at full size with each number that was tried; empty where the
            number was decided already.
        loads: Images a second that the loader could do; None: they are in memory.
    """

    steps: int
    seconds_per_step: float
    seconds_per_epoch: float
    peak_bytes: int
    threads: int
    tried: Mapping[int, float]
    loads: float | None = None


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
    tried = _try_threads(dataset, record)
    threads = fastest(tried) if tried else torch.get_num_threads()
    with computing_threads(threads):
        seconds, pace = _time_steps(dataset, record, TIMED_STEPS)
        step = mean(seconds[1:] or seconds)
        if len(seconds) < TIMED_STEPS and recipe.resolution_start < recipe.resolution_end:
            # The images were not yet at their full size.
            seconds += _time_steps(dataset, _at_full_size(record), 1)[0]
            step = (step + seconds[-1]) / 2
    images = len(dataset.train) + FORWARD_SHARE * len(dataset.validation)
    epoch = step * images / min(forward_batch_size(recipe), len(dataset.train))
    step *= recipe.accumulate_steps
    loads = pace.loaded_per_second() if pace is not None else None
    if loads is not None:
        epoch = max(epoch, (len(dataset.train) + len(dataset.validation)) / loads)
    return StepTime(len(seconds), step, epoch, peak_memory(), threads, tried, loads)


def _try_threads(dataset: Dataset, record: RunRecord) -> dict[int, float]:
    """Time steps at full size with each number of threads that is worth a trial."""
    counts = thread_counts()
    if len(counts) == 1:
        return {}
    trial = ThreadTrial(counts, TIME_BUDGET_S)
    with computing_threads(None):
        _run_steps(dataset, _at_full_size(record), trial, trial.max_steps)
    return trial.step_seconds()


def _at_full_size(record: RunRecord) -> RunRecord:
    """Have every step at the image size of the run's end."""
    full = {"resolution_start": record.recipe.resolution_end}
    return record.model_copy(update={"recipe": record.recipe.model_copy(update=full)})


def _time_steps(
    dataset: Dataset, record: RunRecord, max_steps: int
) -> tuple[list[float], Pace | None]:
    """Take so many steps, or fewer where they are slow; seconds of each, and the loader's pace."""
    clock = _Clock()
    pace = _run_steps(dataset, record, clock, max_steps)
    return clock.seconds, pace


def _run_steps(dataset: Dataset, record: RunRecord, watch: Callback, max_steps: int) -> Pace | None:
    with torch.random.fork_rng():
        return run_throw_away_steps(dataset, Classifier(record), watch, max_steps)


def peak_memory() -> int:
    """Most bytes that this process held at once so far; on a GPU, there."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kibibytes on Linux
