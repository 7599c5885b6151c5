"""From a data set and a recipe to a run folder.

Lightning runs the loop that `training.fit.trainer` builds. The best weights by the recipe's
`monitor` are kept however the run ends, the last ones so that it can be resumed.
"""

import json
import logging
from datetime import timedelta
from pathlib import Path

from model.artifact.durable import replace_synced
from training.data.dataset import Dataset
from training.distributed import processes
from training.errors import TrainingError
from training.fit.callbacks.checkpointing import CHECKPOINT_EVERY
from training.fit.first_weights import FirstWeights
from training.fit.loggers import LoggerName, build_logger
from training.fit.loop import Outcome, explained_failures, run_loop
from training.fit.preflight import run_preflight
from training.fit.process_group import check_agreement, process_group, together
from training.fit.setup import (
    build_module,
    check_backbone_learns,
    fit_architecture,
    fit_dataset,
    notes_on_leakage,
)
from training.fit.trainer import check_shares
from training.recipe.recipe import Recipe
from training.runs.folder import RunFolder
from training.runs.metrics import read_rows
from training.runs.record import RunRecord

log = logging.getLogger(__name__)


def train(  # noqa: PLR0913  # data, recipe, place, and what a run may vary in
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    seed: int = 0,
    init: Path | None = None,
    checkpoint_every: timedelta = CHECKPOINT_EVERY,
    preflight: bool = False,
    logger: LoggerName = "tensorboard",
) -> Outcome:
    """Train until the recipe's last epoch, early stopping, or Ctrl+C.

    Args:
        dataset: What to learn from; its test split is not used.
        recipe: Every hyper-parameter.
        out: Run folder, made if needed.
        seed: Of the weights, the order of the images and the augmentation.
        init: First weights, from a file of any origin; None draws them.
        checkpoint_every: Time between checkpoints within an epoch.
        logger: Where figures go beside the run folder.
        preflight: Report on the data and the time of an epoch before the first step.

    Raises:
        TrainingError: If the folder holds another run, the data set or the network does not fit
            the recipe, the run was stopped before there were weights to keep, a loss or weight
            was not finite, or the disk was full.
        WeightsError: If `init` cannot be read, or none of it fits.
    """
    folder, is_first = RunFolder(out), processes().rank == 0
    with process_group():
        with together():
            check_shares(dataset, recipe)
            build_logger(logger, folder)  # refuses one whose package is missing
            start = None if init is None else FirstWeights.read(init, recipe)
            dataset = fit_dataset(dataset, recipe, start)
            if start is None:
                check_backbone_learns(recipe)
            architecture = fit_architecture(recipe, dataset, start)
            record = RunRecord.of(dataset, recipe, architecture, seed, init)
        with explained_failures(folder, record):
            with together():
                check_agreement(record.essentials())
                if is_first:
                    _create_folder(folder, record, dataset)
                module = build_module(record, start, folder.first_weights if is_first else None)
                for note in [] if init is None else notes_on_leakage(init, dataset):
                    log.info(note)
                if preflight and is_first:
                    step_time = run_preflight(dataset, record, folder)
                    if step_time is not None:
                        module.record = _note_threads(folder, record, step_time.threads)
            return run_loop(folder, module, dataset, checkpoint_every, logger=logger)


def _note_threads(folder: RunFolder, record: RunRecord, threads: int) -> RunRecord:
    """Note the number of threads that was chosen: it decides the last bits."""
    if record.environment is None or record.environment.threads == threads:
        return record
    environment = record.environment.model_copy(update={"threads": threads})
    record = record.model_copy(update={"environment": environment})
    replace_synced(folder.record, f"{record.model_dump_json(indent=2)}\n".encode())
    return record


def _create_folder(folder: RunFolder, record: RunRecord, dataset: Dataset) -> None:
    """Write down what the run is.

    Raises:
        TrainingError: If the folder holds another run, or is none.
    """
    if folder.path.exists() and not folder.path.is_dir():
        raise TrainingError(f"{folder.path} is not a folder; name another one with --out.")
    if folder.last.exists() or read_rows(folder.metrics):
        way = "add --resume to continue it" if folder.last.exists() else "delete it"
        raise TrainingError(
            f"{folder.path} already contains a run; {way}, or name another folder with --out."
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    for path, content in (
        (folder.recipe, record.recipe.model_dump_json(indent=2)),
        (folder.record, record.model_dump_json(indent=2)),
        (folder.splits, json.dumps(dataset.files, indent=0)),
    ):
        replace_synced(path, f"{content}\n".encode())
