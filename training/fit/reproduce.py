"""Run a run again, from its folder alone.

Same recipe, seed, pictures, first weights and threads: on the same processor and with the
same versions the weights come out the same, bit for bit.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch

from model.weights.file import describe_file
from training.data.open import read_dataset
from training.data.splits import as_path
from training.fit.callbacks.checkpointing import KEEP_EVERY
from training.fit.setup import TrainingError
from training.fit.train import Outcome, train
from training.runs.metrics import read_rows, state
from training.runs.record import CheckpointError, RunFolder, RunRecord, read_checkpoint, read_record


def repeat(  # noqa: PLR0913  # what, where to, what lies elsewhere by now
    run: Path,
    out: Path,
    *,
    data: Path | None = None,
    init: Path | None = None,
    keep_every: timedelta = KEEP_EVERY,
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Train as a run was trained, and tell whether the weights are the same.

    Args:
        run: The run folder.
        out: The new one.
        data: Where the pictures are now; None looks where they were.
        init: Where the first weights are now; likewise.
        keep_every: Time between checkpoints within an epoch.
        tell: Hears what differs from then, and what came of it, a line each.

    Raises:
        CheckpointError: If the folder does not tell of a run, or an earlier version wrote it whose
            recipe this one does not know.
        DatasetError: If the pictures cannot be read.
        TrainingError: If pictures or first weights are not those of the run.
        WeightsError: If the first weights cannot be read.
    """
    record = read_record(run)
    record.check_recipe_is_whole(run)
    if record.environment is not None:
        torch.set_num_threads(record.environment.threads)
    for line in record.differences():
        tell(line)
    dataset = read_dataset(
        data or as_path(record.dataset_source),
        record.seed,
        record.preprocessing.crop,
        known=record.labels,
    )
    if dataset.sha256 != record.dataset_sha256:
        raise TrainingError(
            f"The pictures in {dataset.source} are not those of the run (SHA-256 "
            f"{dataset.sha256[:16]}..., not {record.dataset_sha256[:16]}...); name them by --data."
        )
    first = _first_weights(record, init)
    outcome = train(
        dataset, record.recipe, out, seed=record.seed, init=first, keep_every=keep_every, tell=tell
    )
    if not outcome.interrupted:
        tell(_compare(RunFolder(run), record, outcome))
    return outcome


def _first_weights(record: RunRecord, init: Path | None) -> Path | None:
    if record.weights is None:
        if init is not None:
            raise TrainingError(f"The run began with weights of its own, not with {init}.")
        return None
    path = init or Path(record.init or "")
    if not path.is_file() or _digest(describe_file(path)) != _digest(record.weights):
        raise TrainingError(
            f"{path} is not what the run began with, {record.weights}; name that by --init."
        )
    return path


def _digest(description: str) -> str:
    """Give the digest alone: a file may have another name by now."""
    return description.rsplit(maxsplit=1)[-1]


def _compare(was: RunFolder, record: RunRecord, outcome: Outcome) -> str:
    """Say whether two runs came to the same weights, where both came to their end."""
    rows = read_rows(was.metrics)
    if len(rows) != outcome.epochs and state(rows, record.recipe) == "not finished":
        return (
            f"note: {was.path} was not finished: it has {len(rows)} epochs, this run "
            f"{outcome.epochs}, so their weights are not compared"
        )
    try:
        _, before = read_checkpoint(was.last)
    except CheckpointError:
        return f"{was.path} kept no weights to compare with"
    _, after = read_checkpoint(outcome.folder.last)
    same = before.keys() == after.keys() and all(
        torch.equal(before[name], after[name]) for name in before
    )
    if same:
        return f"the last weights are those of {was.path}, bit for bit"
    return f"note: the last weights are not those of {was.path}, bit for bit"
