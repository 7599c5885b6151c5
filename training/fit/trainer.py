"""The loop of a run: Lightning's, with our callbacks, loggers and precision."""

import os
import warnings
from datetime import timedelta
from typing import Literal

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import TensorBoardLogger

from training.data.dataset import Dataset
from training.data.loader import loader
from training.fit.callbacks.checkpointing import (
    DurableCheckpoints,
    ExactResume,
    KeepBest,
    KeepLast,
    KeepLastWithinEpoch,
)
from training.fit.callbacks.ema import MovingAverage
from training.fit.callbacks.progress import EpochTable, ProgressBar
from training.fit.callbacks.terminate_on_nan import FiniteTraining
from training.fit.module import Classifier
from training.recipe.recipe import Recipe
from training.runs.environment import has_bfloat16
from training.runs.record import RunFolder

Precision = Literal["bf16-mixed", "32-true"]


def build_trainer(folder: RunFolder, recipe: Recipe, keep_every: timedelta) -> Trainer:
    """Build the loop of a run: its callbacks, its precision, its devices, its loggers."""
    mode = "max" if recipe.monitor == "val_acc" else "min"
    callbacks: list[Callback] = [
        KeepBest(folder, recipe.monitor, mode),
        KeepLast(folder),
        KeepLastWithinEpoch(folder, keep_every),
        ExactResume(),
        FiniteTraining(folder),
        EpochTable(folder.metrics, folder.curves, recipe.name),
        ProgressBar(),
    ]
    if recipe.ema_decay:
        callbacks.append(MovingAverage(recipe.ema_decay))
    if recipe.early_stopping is not None:
        callbacks.append(EarlyStopping(recipe.monitor, patience=recipe.early_stopping, mode=mode))
    return Trainer(
        accelerator="auto",
        devices=_devices(),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
        max_epochs=recipe.epochs,
        precision=precision(recipe),
        callbacks=callbacks,
        plugins=[DurableCheckpoints()],
        logger=TensorBoardLogger(folder.path, name=None, version="tensorboard"),
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


def throw_away_run(dataset: Dataset, module: Classifier, watch: Callback, steps: int) -> None:
    """Train a network that nobody keeps, for so many steps and on one device.

    Args:
        dataset: Its training split is read, over and over where it is small.
        module: The network, and the record of the run that this one is like.
        watch: Sees the steps; the only callback.
        steps: At most.
    """
    record = module.record
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on so short a run, and on its validation
        Trainer(
            accelerator="auto",
            devices=1,
            max_steps=steps,
            min_epochs=0,
            limit_val_batches=1,
            precision=precision(record.recipe),
            callbacks=[watch],
            logger=False,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        ).fit(
            module,
            loader(dataset.train, record.recipe.batch_size, record.seed),
            loader(dataset.validation[:1], 1),
        )


def _devices() -> int:
    """Take as many devices as torchrun started processes here; alone, one GPU or the CPU.

    Lightning would start a process for each GPU by itself, which reads the pictures and looks at
    them again and knows its share of them too late; torchrun's know it from the start.
    """
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def precision(recipe: Recipe) -> Precision:
    """Name the precision of the steps in Lightning's words: bfloat16 where it is not emulated."""
    return "bf16-mixed" if recipe.precision == "bfloat16" and has_bfloat16() else "32-true"
