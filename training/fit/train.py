"""From a data set and a recipe to a run folder.

Lightning runs the loop that `training.fit.trainer` builds. The best weights by the recipe's
`monitor` are kept on every exit, the last ones so that a run can go on.
"""

import errno
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint

from model.artifact.durable import replace_synced
from training.data.dataset import Dataset
from training.data.loader import eval_batch_size, loader
from training.fit.callbacks.checkpointing import KEEP_EVERY, WriteError
from training.fit.callbacks.interrupt import stopped_between_steps
from training.fit.callbacks.progress import quiet_lightning
from training.fit.callbacks.terminate_on_nan import NotFiniteError
from training.fit.module import Classifier
from training.fit.preflight import look
from training.fit.setup import (
    TrainingError,
    begun_with,
    first_weights,
    fit_architecture,
    normalized,
    refuse_frozen,
    seen_before,
)
from training.fit.trainer import build_trainer
from training.recipe.recipe import Recipe, compared
from training.runs.metrics import read_rows
from training.runs.record import CheckpointError, RunFolder, RunRecord, read_checkpoint

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk says when there is no room."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the best epoch's figures on the validation split."""

    folder: RunFolder
    epochs: int
    monitor: str
    best: float
    interrupted: bool


def train(  # noqa: PLR0913  # where, what, which seed, from where
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    init: Path | None = None,
    keep_every: timedelta = KEEP_EVERY,
    look_first: bool = False,
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Train until the recipe's last epoch, early stopping, or Ctrl+C.

    Args:
        dataset: What to learn from; its test split is not touched.
        recipe: Every hyper-parameter.
        out: Run folder, made if needed.
        seed: Of the weights, the order of the pictures and the augmentation.
        resume: Go on from the folder's last checkpoint.
        init: Weights to begin with, from a file of any origin.
        keep_every: Time between checkpoints within an epoch.
        look_first: Tell and write what the data are and what an epoch will take.
        tell: Hears what became of each key of `init`, and the summary, a line each.

    Raises:
        TrainingError: If the folder holds another run, there is nothing to resume, the run was
            stopped before there were weights to keep, its figures were no longer finite, or
            the disk was full.
        WeightsError: If `init` cannot be read, or none of it fits.
    """
    folder = RunFolder(out)
    dataset = normalized(dataset, recipe)
    init = None if resume else init  # what goes on has weights already
    start = None if init is None else first_weights(init, recipe, tell)
    if start is None and not resume:
        refuse_frozen(recipe)
    record = RunRecord.of(dataset, recipe, fit_architecture(recipe, dataset, start), seed, init)
    if resume:
        record = _earlier(folder, record)
        for line in record.differences():
            tell(line)
    with _told_what_stopped(folder):
        _prepare(folder, record, dataset, resume=resume)
        quiet_lightning()
        seed_everything(seed, verbose=False)
        module = begun_with(start, record, tell)
        for line in _first_words(dataset, record, folder, init, look_first=look_first):
            tell(line)
        trainer = build_trainer(folder, recipe, keep_every)
        interrupted = _fit(trainer, module, dataset, folder.last if resume else None)
    _refuse_unvalidated(folder)
    best = _best_keeper(trainer).best_model_score
    return Outcome(
        folder=folder,
        epochs=trainer.current_epoch,
        monitor=recipe.monitor,
        best=float("nan") if best is None else float(best),
        interrupted=interrupted or trainer.interrupted,
    )


def _first_words(
    dataset: Dataset, record: RunRecord, folder: RunFolder, init: Path | None, *, look_first: bool
) -> Iterator[str]:
    """Say what the person who waits should know before the first step."""
    if init is not None:
        yield from seen_before(init, dataset)
    if look_first and os.environ.get("RANK", "0") == "0":
        yield from look(dataset, record, folder)


def _refuse_unvalidated(folder: RunFolder) -> None:
    """Say that a run ended too early to have kept anything.

    Raises:
        TrainingError: If there are no best weights.
    """
    if not folder.best.exists():
        on = f"; --resume goes on from {folder.last}" if folder.last.exists() else ""
        where = f"{folder.path} holds no validated weights{on}"
        raise TrainingError(f"Stopped before the first epoch was over; {where}.")


def _fit(trainer: Trainer, module: Classifier, dataset: Dataset, last: Path | None) -> bool:
    """Run Lightning's loop; tell whether it was stopped by hand."""
    record = module.record
    batch = record.recipe.batch_size // trainer.world_size
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own old call
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not.*")
        # `training.fit.callbacks.checkpointing` passes over the pictures that the epoch had seen.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        try:
            with stopped_between_steps(trainer):
                trainer.fit(
                    module,
                    loader(dataset.train, batch, record.seed),
                    loader(dataset.validation, eval_batch_size(record.preprocessing.crop)),
                    ckpt_path=last,
                    weights_only=True,
                )
        except (KeyboardInterrupt, SystemExit):
            return True
    return False


@contextmanager
def _told_what_stopped(folder: RunFolder) -> Iterator[None]:
    """Say in one line what ended a run, and that nothing was lost."""
    try:
        yield
    except NotFiniteError as error:
        raise TrainingError(str(error)) from error
    except (WriteError, OSError) as error:
        what = str(error) if isinstance(error, WriteError) else f"The disk refused ({error})."
        cause = error if isinstance(error, OSError) else error.__cause__
        full = not isinstance(cause, OSError) or cause.errno in FULL
        mend = "Make room" if full else "Mend that"
        if folder.last.exists():
            way = f"{mend} and go on with --resume: {folder.last} is whole."
        else:
            first = f", delete {folder.path}" if folder.metrics.exists() else ""
            way = f"{mend}{first} and begin again: nothing was kept yet."
        raise TrainingError(f"{what} {way}") from error


def _earlier(folder: RunFolder, record: RunRecord) -> RunRecord:
    """Give the record of the run that goes on, and refuse to go on as another.

    Raises:
        TrainingError: If there is no checkpoint, or it is of another run.
    """
    try:
        earlier, _ = read_checkpoint(folder.last)
        earlier.check_recipe_is_whole(folder.path)
    except CheckpointError as error:
        raise TrainingError(f"There is nothing to resume: {error}") from error
    for name, was, is_now in _compared(earlier, record):
        if was != is_now:
            raise TrainingError(
                f"{folder.path} was trained with another {name} ({was}), not {is_now}; "
                "resume with the same, or start anew in another folder."
            )
    return earlier


def _compared(earlier: RunRecord, record: RunRecord) -> Iterator[tuple[str, object, object]]:
    """Name what makes two runs the same, with the value that it has in each."""
    yield "seed", earlier.seed, record.seed
    yield from compared(earlier.recipe, record.recipe)
    yield "data set, by its SHA-256,", earlier.dataset_sha256, record.dataset_sha256
    if earlier.init is None:  # other weights may have brought a stem of their own
        yield "architecture", earlier.architecture, record.architecture


def _prepare(folder: RunFolder, record: RunRecord, dataset: Dataset, *, resume: bool) -> None:
    """Refuse to mix two runs in one folder; write down what this one is."""
    if resume:
        return
    if folder.path.exists() and not folder.path.is_dir():
        raise TrainingError(f"{folder.path} is no folder; name another with --out.")
    if folder.last.exists() or read_rows(folder.metrics):
        way = "add --resume to go on with it" if folder.last.exists() else "delete it"
        raise TrainingError(
            f"{folder.path} holds a run already; {way}, or name another folder with --out."
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    for path, content in (
        (folder.recipe, record.recipe.model_dump_json(indent=2)),
        (folder.record, record.model_dump_json(indent=2)),
        (folder.splits, json.dumps(dataset.files, indent=0)),
    ):
        replace_synced(path, f"{content}\n".encode())


def _best_keeper(trainer: Trainer) -> ModelCheckpoint:
    keeper = trainer.checkpoint_callback
    if not isinstance(keeper, ModelCheckpoint):  # pragma: no cover  # `build_trainer` puts it
        raise TypeError("the trainer has no ModelCheckpoint")
    return keeper
