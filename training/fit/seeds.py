"""The same run with several seeds: how much of a figure is chance."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import mean, stdev

from training.data.dataset import Dataset
from training.fit.callbacks.checkpointing import CHECKPOINT_EVERY
from training.fit.loggers import LoggerName
from training.fit.loop import Outcome
from training.fit.threads import computing_threads
from training.fit.train import train
from training.recipe.recipe import Recipe
from training.runs.reading import read_record

log = logging.getLogger(__name__)


def train_seeds(  # noqa: PLR0913  # what `train` takes, and how many
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    seeds: range,
    *,
    init: Path | None = None,
    checkpoint_every: timedelta = CHECKPOINT_EVERY,
    logger: LoggerName = "tensorboard",
) -> Iterator[Outcome]:
    """Train once for each seed, in `out/seed-N`, on the same splits.

    The first run's report and number of threads are those of all: seeds differ in first weights,
    order and augmentation alone. A run that was interrupted is the last.

    Raises:
        TrainingError: As `train`.
        WeightsError: As `train`.
    """
    threads = None
    for seed in seeds:
        folder = out / f"seed-{seed}"
        with computing_threads(threads):
            outcome = train(
                dataset,
                recipe,
                folder,
                seed=seed,
                init=init,
                checkpoint_every=checkpoint_every,
                preflight=seed == seeds.start,
                logger=logger,
            )
        environment = read_record(folder).environment
        threads = None if environment is None else environment.threads
        yield outcome
        if outcome.interrupted:
            return


def spread_line(outcomes: list[Outcome]) -> str:
    """Say the mean of the best figures, their standard deviation, and their range."""
    values = [outcome.best for outcome in outcomes]
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return (
        f"{outcomes[0].monitor} of {len(values)} seeds: {mean(values):.4f}{spread} "
        f"({min(values):.4f} to {max(values):.4f})"
    )
