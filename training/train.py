"""From a data set and a recipe to a run folder.

Lightning runs the loop; this room chooses its callbacks, loggers and precision, and
draws the curves at the end. The best weights by the recipe's `monitor` are kept on
every exit, the last ones so that a run can go on.
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from model.architecture import Architecture, get_architecture
from training.checkpoints import DurableCheckpoints
from training.datasets.dataset import Dataset, loader
from training.module import Classifier
from training.progress import EpochTable, ProgressBar, quiet_lightning, read_rows
from training.recipes import Recipe
from training.run import CheckpointError, RunFolder, RunRecord, read_checkpoint

EVALUATION_BATCH = 500


class TrainingError(Exception):
    """A run cannot start or cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the best epoch's figures on the validation split."""

    folder: RunFolder
    epochs: int
    monitor: str
    best: float
    interrupted: bool


def fit_architecture(recipe: Recipe, dataset: Dataset) -> Architecture:
    """Give the recipe's architecture the data's labels and channels, and a stem for its size.

    Raises:
        TrainingError: If there is no such architecture, or the pictures are too small.
    """
    side = dataset.preprocessing.crop
    if recipe.shift >= side:
        raise TrainingError(
            f"`shift` (={recipe.shift}) must be under the picture's side (={side})."
        )
    stem = recipe.stem
    if stem is None and side <= 64:
        stem = "small"
    try:
        return get_architecture(
            recipe.architecture,
            num_classes=len(dataset.labels),
            in_channels=dataset.preprocessing.channels,
            stem=stem,
        )
    except ValueError as error:
        raise TrainingError(f"The recipe's architecture: {error}") from error


def train(
    dataset: Dataset, recipe: Recipe, out: Path, *, seed: int = 0, resume: bool = False
) -> Outcome:
    """Train until the recipe's last epoch, early stopping, or Ctrl+C.

    Args:
        dataset: What to learn from; its test split is not touched.
        recipe: Every hyper-parameter.
        out: Run folder, made if needed.
        seed: Of the weights, the order of the pictures and the augmentation.
        resume: Go on from the folder's last checkpoint.

    Raises:
        TrainingError: If the folder holds another run, there is nothing to resume, or the run
            was stopped before there were weights to keep.
    """
    folder = RunFolder(out)
    record = RunRecord.of(dataset, recipe, fit_architecture(recipe, dataset), seed)
    _prepare(folder, record, resume=resume)
    quiet_lightning()
    seed_everything(seed, verbose=False)
    module = Classifier(record)
    trainer = _trainer(folder, recipe)
    best = _best_keeper(trainer)
    interrupted = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own old call
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not.*")
        try:
            trainer.fit(
                module,
                loader(dataset.train, recipe.batch_size // trainer.world_size, seed),
                loader(dataset.validation, EVALUATION_BATCH),
                ckpt_path=folder.last if resume else None,
                weights_only=True,
            )
        except (KeyboardInterrupt, SystemExit):
            interrupted = True
    if not folder.best.exists():
        raise TrainingError(f"Stopped before the first epoch was over; {out} holds no weights.")
    return Outcome(
        folder=folder,
        epochs=trainer.current_epoch,
        monitor=recipe.monitor,
        best=float(best.best_model_score) if best.best_model_score is not None else float("nan"),
        interrupted=interrupted or trainer.interrupted,
    )


def _prepare(folder: RunFolder, record: RunRecord, *, resume: bool) -> None:
    """Refuse to mix two runs in one folder; write down what this one is."""
    if resume:
        try:
            earlier, _ = read_checkpoint(folder.last)
        except CheckpointError as error:
            raise TrainingError(f"There is nothing to resume: {error}") from error
        for field in ("recipe", "architecture", "dataset_sha256", "seed"):
            was, is_now = getattr(earlier, field), getattr(record, field)
            if was != is_now:
                raise TrainingError(
                    f"{folder.path} was trained with another {field} ({was}), not {is_now}; "
                    "resume with the same, or start anew in another folder."
                )
    elif folder.last.exists() or read_rows(folder.metrics):
        raise TrainingError(
            f"{folder.path} holds a run already; add --resume to go on with it, "
            "or name another folder with --out."
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.recipe.write_text(record.recipe.model_dump_json(indent=2) + "\n")


def _trainer(folder: RunFolder, recipe: Recipe) -> Trainer:
    maximize = recipe.monitor == "val_acc"
    callbacks: list[Callback] = [
        ModelCheckpoint(
            dirpath=folder.checkpoints,
            filename="best",
            monitor=recipe.monitor,
            mode="max" if maximize else "min",
            enable_version_counter=False,
        ),
        # `save_last=True` above would write only in epochs that are the best so far.
        ModelCheckpoint(dirpath=folder.checkpoints, filename="last", enable_version_counter=False),
        EpochTable(folder.metrics, folder.curves, recipe.name),
        ProgressBar(),
    ]
    if recipe.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=recipe.ema_decay))
    if recipe.early_stopping is not None:
        callbacks.append(
            EarlyStopping(
                recipe.monitor,
                patience=recipe.early_stopping,
                mode="max" if maximize else "min",
            )
        )
    return Trainer(
        accelerator="auto",
        devices=_devices(),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
        max_epochs=recipe.epochs,
        precision="bf16-mixed" if _uses_bfloat16(recipe) else "32-true",
        callbacks=callbacks,
        plugins=[DurableCheckpoints()],
        logger=TensorBoardLogger(folder.path, name=None, version="tensorboard"),
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


def _devices() -> int | str:
    """Take as many devices as torchrun started processes here; alone, all GPUs or the CPU."""
    processes = os.environ.get("LOCAL_WORLD_SIZE")
    if processes is not None:
        return int(processes)
    return "auto" if torch.cuda.is_available() else 1


def _uses_bfloat16(recipe: Recipe) -> bool:
    """Use bfloat16 where the processor multiplies it: elsewhere it is emulated and slow."""
    if recipe.precision == "float32":
        return False
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities()
    return any(
        capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16", "amx")
    )


def _best_keeper(trainer: Trainer) -> ModelCheckpoint:
    keeper = trainer.checkpoint_callback
    if not isinstance(keeper, ModelCheckpoint):  # pragma: no cover  # `_trainer` puts one there
        raise TypeError("the trainer has no ModelCheckpoint")
    return keeper
