"""Go on with a run that was stopped, as if it had not been.

The one place that decides with which recipe, seed and images: what is not given is as it was,
and what is given must be as it was.
"""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from training.data.dataset import Dataset
from training.errors import TrainingError
from training.fit.callbacks.checkpointing import CHECKPOINT_EVERY
from training.fit.loggers import LoggerName
from training.fit.loop import Outcome, explained_failures, run_loop
from training.fit.process_group import check_agreement, process_group, together
from training.fit.setup import build_module, fit_architecture, fit_dataset
from training.fit.threads import computing_threads, threads_of
from training.fit.trainer import check_shares
from training.recipe.recipe import Recipe, compare_recipes
from training.runs.dataset import dataset_to_resume
from training.runs.folder import RunFolder
from training.runs.reading import read_checkpoint
from training.runs.record import CheckpointError, RunRecord
from training.runs.schema import SCHEMA_VERSION

Comparison = tuple[str, object, object]
"""What is compared, its value in the run, and the one that was given."""

log = logging.getLogger(__name__)


def resume(  # noqa: PLR0913  # the run, what must be as it was, and how it is kept
    run: Path,
    dataset: Dataset | Path | None = None,
    *,
    labels_csv: Path | None = None,
    recipe: Recipe | None = None,
    seed: int | None = None,
    checkpoint_every: timedelta = CHECKPOINT_EVERY,
    logger: LoggerName = "tensorboard",
) -> Outcome:
    """Go on with a run from its last checkpoint.

    Args:
        run: Its folder.
        dataset: Its images, or the folder where they are now; None reads them where they were.
        labels_csv: Where the run's table of labels is now; None: where it was, if it had one.
        recipe: Checked against the run's own, if given.
        seed: Likewise.
        checkpoint_every: Time between checkpoints within an epoch.
        logger: Where figures go beside the run folder.

    Raises:
        DatasetError: If images of the run are missing, or do not fit its network.
        TrainingError: If there is no checkpoint, it is of another run, or for what `train` raises
            it.
    """
    folder = RunFolder(run)
    with process_group():
        with together():
            record = _read_last(folder)
            _check_same(folder, _given(record, recipe, seed))
            if not isinstance(dataset, Dataset):
                dataset = dataset_to_resume(record, dataset, run, labels_csv)
            dataset = fit_dataset(dataset, record.recipe)
            check_shares(dataset, record.recipe)
            _check_same(folder, _found(record, dataset))
        threads = threads_of(record.environment)
        with computing_threads(threads), explained_failures(folder, record):
            with together():
                check_agreement(record.essentials())
                for line in record.differences():
                    log.info(line)
                module = build_module(record.model_copy(update={"schema_version": SCHEMA_VERSION}))
            return run_loop(folder, module, dataset, checkpoint_every, folder.last, logger=logger)


def _read_last(folder: RunFolder) -> RunRecord:
    """Read the record in the last checkpoint.

    Raises:
        TrainingError: If there is none, or its recipe is not known as a whole.
    """
    try:
        record, _ = read_checkpoint(folder.last)
        record.check_recipe_is_whole(folder.path)
    except CheckpointError as error:
        raise TrainingError(f"There is nothing to resume: {error}") from error
    return record


def _given(record: RunRecord, recipe: Recipe | None, seed: int | None) -> Iterator[Comparison]:
    """Compare what the caller chose."""
    if seed is not None:
        yield "seed", record.seed, seed
    if recipe is not None:
        yield from compare_recipes(record.recipe, recipe)


def _found(record: RunRecord, dataset: Dataset) -> Iterator[Comparison]:
    """Compare what the images are, and the network that they would get now."""
    was = record.dataset_sha256
    found = was if dataset.has_digest(was) else dataset.sha256
    yield "data set, by its SHA-256,", was, found
    yield "image size", record.preprocessing.crop, dataset.preprocessing.crop
    if record.init is None:  # first weights may have brought a stem of their own
        architecture = fit_architecture(record.recipe, dataset)
        yield "architecture", record.architecture, architecture


def _check_same(folder: RunFolder, comparisons: Iterator[Comparison]) -> None:
    """Refuse to go on as another run.

    Raises:
        TrainingError: If a value differs.
    """
    for name, was, is_now in comparisons:
        if was != is_now:
            raise TrainingError(
                f"{folder.path} was trained with another {name} ({was}), not {is_now}; "
                "resume with the same, or start a new run in another folder."
            )
