"""Train a run again, from its folder alone.

With the same recipe, seed, images, first weights and threads, on the same processor and with
the same versions, the weights come out the same, bit for bit.
"""

import logging
from datetime import timedelta
from pathlib import Path

import torch

from model.weights.file import describe_file
from training.data.open import read_dataset
from training.data.splits import as_path
from training.errors import TrainingError
from training.fit.callbacks.checkpointing import CHECKPOINT_EVERY
from training.fit.loop import Outcome
from training.fit.threads import threads_of
from training.fit.train import train
from training.runs.dataset import held_files
from training.runs.folder import RunFolder
from training.runs.metrics import read_rows, run_state
from training.runs.reading import read_checkpoint, read_record
from training.runs.record import CheckpointError, RunRecord

log = logging.getLogger(__name__)


def reproduce(  # noqa: PLR0913  # the run, and where its parts are now
    run: Path,
    out: Path,
    *,
    data: Path | None = None,
    labels_csv: Path | None = None,
    init: Path | None = None,
    checkpoint_every: timedelta = CHECKPOINT_EVERY,
) -> Outcome:
    """Train as a run was trained, and log whether the weights are the same.

    Args:
        run: The run folder.
        out: The new one.
        data: Where the images are now; None takes the run's own folder.
        labels_csv: Where the run's table of labels is now; likewise.
        init: Where the first weights are now; likewise.
        checkpoint_every: Time between checkpoints within an epoch.

    Raises:
        CheckpointError: If the folder holds no run, or one of an earlier version whose recipe this
            one does not know.
        DatasetError: If the images cannot be read.
        TrainingError: If images or first weights are not those of the run.
        WeightsError: If the first weights cannot be read.
    """
    record = read_record(run)
    record.check_recipe_is_whole(run)
    threads = threads_of(record.environment)
    if threads is not None:
        torch.set_num_threads(threads)
    for line in record.differences():
        log.info(line)
    dataset = read_dataset(
        data or as_path(record.dataset_source),
        record.preprocessing.crop,
        held_files(run),
        record.labels,
        labels_csv=labels_csv or record.table,
        like=record.preprocessing,
        calibrate=record.calibration_images > 0,
    )
    if not dataset.has_digest(record.dataset_sha256):
        raise TrainingError(
            f"The images in {dataset.source} are not those of the run (SHA-256 "
            f"{dataset.sha256[:16]}..., not {record.dataset_sha256[:16]}...); name them with "
            "--data."
        )
    first = _first_weights(record, init)
    outcome = train(
        dataset,
        record.recipe,
        out,
        seed=record.seed,
        init=first,
        checkpoint_every=checkpoint_every,
    )
    if not outcome.interrupted:
        log.info(_compare(RunFolder(run), record, outcome))
    return outcome


def _first_weights(record: RunRecord, init: Path | None) -> Path | None:
    if record.weights is None:
        if init is not None:
            raise TrainingError(f"The run started from random weights, not from {init}.")
        return None
    path = init or Path(record.init or "")
    if not path.is_file() or _digest(describe_file(path)) != _digest(record.weights):
        raise TrainingError(
            f"{path} is not what the run started from, {record.weights}; name that one with --init."
        )
    return path


def _digest(description: str) -> str:
    """Give the digest without the name: the file may have been renamed."""
    return description.rsplit(maxsplit=1)[-1]


def _compare(was: RunFolder, record: RunRecord, outcome: Outcome) -> str:
    """Say whether two runs have the same last weights, where both are finished."""
    rows = read_rows(was.metrics)
    if len(rows) != outcome.epochs and run_state(rows, record.recipe) == "not finished":
        return (
            f"note: {was.path} was not finished: it has {len(rows)} epochs, this run "
            f"{outcome.epochs}, so their weights are not compared"
        )
    try:
        _, before = read_checkpoint(was.last)
    except CheckpointError:
        return f"{was.path} has no weights to compare with"
    _, after = read_checkpoint(outcome.folder.last)
    same = before.keys() == after.keys() and all(
        torch.equal(before[name], after[name]) for name in before
    )
    if same:
        return f"the final weights are the same as those of {was.path}, bit for bit"
    return f"note: the final weights are not the same as those of {was.path}"
