"""Lightning's loop over a run, and what is said when something ends it early."""

import errno
import logging
import os
import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

from training.data.dataset import Dataset
from training.data.loader import eval_batch_size, loader, worker_died
from training.errors import TrainingError
from training.fit.callbacks.checkpointing import WriteError
from training.fit.callbacks.interrupt import interrupted_between_steps
from training.fit.callbacks.progress import quiet_lightning
from training.fit.callbacks.terminate_on_nan import NotFiniteError
from training.fit.loggers import LoggerName
from training.fit.memory import explain_out_of_memory, free_memory, is_out_of_memory
from training.fit.module import Classifier
from training.fit.process_group import from_rank_0, lost_process
from training.fit.threads import computing_threads, threads_of
from training.fit.trainer import build_trainer, training_batches
from training.runs.folder import RunFolder
from training.runs.record import RunRecord

log = logging.getLogger(__name__)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk that is full."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the best epoch's figure on the validation split.

    Attributes:
        stopped_by: Number of the signal that interrupted it.
    """

    folder: RunFolder
    epochs: int
    monitor: str
    best: float
    interrupted: bool
    stopped_by: int = signal.SIGINT


def run_loop(  # noqa: PLR0913  # the run, what it learns from, and how it is kept
    folder: RunFolder,
    module: Classifier,
    dataset: Dataset,
    checkpoint_every: timedelta,
    checkpoint: Path | None = None,
    *,
    logger: LoggerName = "tensorboard",
) -> Outcome:
    """Train a module until its recipe's last epoch, early stopping, Ctrl+C or SIGTERM.

    Args:
        folder: The run's, which must exist.
        module: The network and the record of its run.
        dataset: What to learn from.
        checkpoint_every: Time between checkpoints within an epoch.
        checkpoint: Go on from there; None begins.
        logger: Where figures go beside the run folder.

    Raises:
        TrainingError: If the run was stopped before there were weights to keep.
    """
    quiet_lightning()
    record = module.record
    threads = threads_of(record.environment)
    train = training_batches(dataset, module)
    if record.recipe.rrc_from_file and module.augments is record.recipe:
        log.info(
            "note: crops are cut from the stored images, because these images have no "
            "files of their own"
        )
    validation = loader(dataset.validation, eval_batch_size(record.preprocessing.crop), share=True)
    trainer, best = build_trainer(folder, record.recipe, checkpoint_every, train, logger)
    for each in trainer.loggers:
        each.log_hyperparams(record.recipe.model_dump())
    if logger == "tensorboard" and trainer.is_global_zero:
        log.info(f"live curves: tensorboard --logdir {folder.path}")
    if record.recipe.compile:
        _check_compiler()
        module.network.compile()
    interrupted = False
    with interrupted_between_steps(trainer, folder) as listener:
        try:
            with computing_threads(threads), _without_remarks():
                trainer.fit(module, train, validation, ckpt_path=checkpoint, weights_only=True)
        except (KeyboardInterrupt, SystemExit):
            interrupted = True
    _check_validated(folder)
    score = best.best_model_score
    return Outcome(
        folder=folder,
        epochs=trainer.current_epoch,
        monitor=record.recipe.monitor,
        best=float("nan") if score is None else float(score),
        interrupted=interrupted or trainer.interrupted,
        stopped_by=listener.heard or signal.SIGINT,
    )


def _check_compiler() -> None:
    """Check that `torch.compile` has what it needs on a processor.

    Raises:
        TrainingError: If there is no C++ compiler.
    """
    names = (os.environ.get("CXX", "c++"), "g++", "clang++")
    if not torch.cuda.is_available() and not any(map(shutil.which, names)):
        raise TrainingError(
            "`compile` needs a C++ compiler, but there is none. Install g++, or leave "
            "`compile` out."
        )


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Silence what Lightning says about choices that we made on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own old call
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not.*")
        # `ExactResume` leaves out the images that the epoch has seen.
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
        yield


def _check_validated(folder: RunFolder) -> None:
    """Check that the run was long enough to keep weights.

    Raises:
        TrainingError: If there are no best weights.
    """
    if not from_rank_0(folder.best.exists()):
        on = f"; --resume continues from {folder.last}" if folder.last.exists() else ""
        where = f"{folder.path} has no validated weights yet{on}"
        raise TrainingError(f"Stopped before the end of the first epoch; {where}.")


@contextmanager
def explained_failures(folder: RunFolder, record: RunRecord) -> Iterator[None]:
    """Say in one line what ended a run, and how to go on.

    Raises:
        TrainingError: If a loss or weight was not finite, the disk refused a file, or the memory
            was not enough.
    """
    free = free_memory()
    try:
        yield
    except NotFiniteError as error:
        raise TrainingError(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        if why := worker_died(error) or lost_process(error, folder.last):
            raise TrainingError(why) from error
        if not is_out_of_memory(error):
            raise
        raise TrainingError(explain_out_of_memory(record, free)) from error
    except (WriteError, OSError) as error:
        what = (
            str(error)
            if isinstance(error, WriteError)
            else f"Writing to the disk failed ({error})."
        )
        cause = error if isinstance(error, OSError) else error.__cause__
        is_full = not isinstance(cause, OSError) or cause.errno in NO_SPACE
        remedy = "Make room" if is_full else "Mend that"
        if folder.last.exists():
            way = f"{remedy} and continue with --resume: {folder.last} is intact."
        else:
            first = f", delete {folder.path}" if folder.metrics.exists() else ""
            way = f"{remedy}{first} and start again: nothing was saved yet."
        raise TrainingError(f"{what} {way}") from error
