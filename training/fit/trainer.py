"""Lightning's trainer, with our callbacks, loggers and precision."""

import logging
import sys
import warnings
from datetime import timedelta
from typing import Literal

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader

from training.data.dataset import Batch, Dataset
from training.data.loader import Pace, loader
from training.distributed import processes
from training.errors import TrainingError
from training.fit.callbacks.checkpointing import (
    BestCheckpoint,
    DurableCheckpoints,
    ExactResume,
    LastCheckpoint,
    LastCheckpointWithinEpoch,
)
from training.fit.callbacks.ema import MovingAverage
from training.fit.callbacks.norm_statistics import SharedNormStatistics
from training.fit.callbacks.progress import EpochTable, ProgressBar, quiet_lightning
from training.fit.callbacks.terminate_on_nan import TerminateOnNaN
from training.fit.crops import training_split
from training.fit.loggers import LoggerName, build_logger
from training.fit.module import Classifier
from training.recipe.recipe import Recipe
from training.runs.environment import has_bfloat16
from training.runs.folder import RunFolder

log = logging.getLogger(__name__)

Precision = Literal["bf16-mixed", "32-true"]


def build_trainer(
    folder: RunFolder,
    recipe: Recipe,
    checkpoint_every: timedelta,
    batches: DataLoader[Batch],
    logger: LoggerName = "tensorboard",
) -> tuple[Trainer, BestCheckpoint]:
    """Build the trainer of a run, and the callback that knows its best epoch.

    Args:
        folder: The run's.
        recipe: Of the run.
        checkpoint_every: Time between checkpoints within an epoch.
        batches: Of the training split, shuffled.
        logger: Where figures go beside the run folder.
    """
    mode = "max" if recipe.monitor == "val_acc" else "min"
    best = BestCheckpoint(folder, recipe.monitor, mode)
    callbacks: list[Callback] = [
        best,
        LastCheckpoint(folder),
        LastCheckpointWithinEpoch(folder, checkpoint_every),
        ExactResume(batches),
        TerminateOnNaN(folder),
        EpochTable(folder.metrics, folder.curves, recipe),
    ]
    is_watched = sys.stdout.isatty()  # a file has a line for each epoch
    if is_watched:
        callbacks.append(ProgressBar())
    decay = ema_decay(recipe, len(batches))
    if decay:
        callbacks.append(MovingAverage(decay))
    if recipe.early_stopping is not None:
        callbacks.append(EarlyStopping(recipe.monitor, patience=recipe.early_stopping, mode=mode))
    here = processes()
    has_own_norms = here.world_size > 1 and not torch.cuda.is_available()
    if has_own_norms:
        callbacks.insert(0, SharedNormStatistics())
        log.info(
            "note: batch norm uses the statistics of the "
            f"{forward_batch_size(recipe)} images of each process, not of all"
        )
    trainer = Trainer(
        accelerator="auto",
        # Lightning would start a process for each GPU by itself, which reads the images and runs
        # the preflight again and knows its share too late; torchrun's know it from the start.
        devices=here.local_world_size,
        num_nodes=here.nodes,
        # No buffers are sent within a forward pass: processes validate unequal numbers of batches.
        strategy=DDPStrategy(forward_sync_buffers=False) if here.world_size > 1 else "auto",
        use_distributed_sampler=False,  # it would fill up shares with images that count twice
        sync_batchnorm=here.world_size > 1 and not has_own_norms,
        max_epochs=recipe.epochs,
        precision=precision(recipe),
        accumulate_grad_batches=recipe.accumulate_steps,
        gradient_clip_val=recipe.clip_norm or None,
        callbacks=callbacks,
        plugins=[DurableCheckpoints()],
        logger=build_logger(logger, folder),
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=is_watched,
    )
    return trainer, best


def training_batches(dataset: Dataset, module: Classifier) -> DataLoader[Batch]:
    """Load the training split, shuffled; tell the module what is left to augment."""
    recipe, seed = module.recipe, module.record.seed
    split, module.augments = training_split(dataset, recipe, seed)
    return loader(split, forward_batch_size(recipe), seed)


def check_shares(dataset: Dataset, recipe: Recipe) -> None:
    """Check that each process gets its share of the images.

    Raises:
        TrainingError: If it would not.
    """
    forward_batch_size(recipe)
    images, world_size = len(dataset.validation), processes().world_size
    if images < world_size:
        raise TrainingError(
            f"The validation split has {images} images, fewer than the {world_size} "
            "processes. Start fewer processes, or add images."
        )


def forward_batch_size(recipe: Recipe) -> int:
    """Count the images that a process computes at once: its share, in the recipe's parts.

    Raises:
        TrainingError: If that is less than one, or if processes would have unequal shares.
    """
    size, world_size = recipe.batch_size, processes().world_size
    parts = world_size * recipe.accumulate_steps
    if size < parts:
        raise TrainingError(
            f"`batch_size` (={size}) must be at least the number of processes times "
            f"`accumulate_steps` (={parts}); raise it with --set batch_size={parts}."
        )
    if world_size > 1 and size % parts:
        fitting = (n for n in range(world_size, 0, -1) if size % (n * recipe.accumulate_steps) == 0)
        fewer = next(fitting, 1)
        raise TrainingError(
            f"`batch_size` (={size}) is that of all processes together and must be a "
            f"multiple of {parts} for {world_size} of them. Start {fewer}, or use "
            f"--set batch_size={size // parts * parts} or "
            f"{(size // parts + 1) * parts}."
        )
    return size // parts


def ema_decay(recipe: Recipe, batches: int) -> float:
    """Give the decay of the weights' average for a step; 0: there is none.

    Args:
        recipe: Of the run.
        batches: Of an epoch, before they are accumulated.
    """
    if not recipe.ema_epochs:
        return recipe.ema_decay
    steps = recipe.ema_epochs * -(-batches // recipe.accumulate_steps)
    return max(0.0, 1 - 1 / steps)


def run_throw_away_steps(
    dataset: Dataset, module: Classifier, watch: Callback, max_steps: int
) -> Pace | None:
    """Train a network that nobody keeps for some steps, on one device.

    Args:
        dataset: Its training split is read, over and over where it is small.
        module: The network, and the record of the run that this one is like.
        watch: The only callback.
        max_steps: At most.

    Returns:
        The pace of loader and steps; None if the images are in memory.
    """
    quiet_lightning()
    record = module.record
    batches = training_batches(dataset, module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on so short a run, and on its validation
        Trainer(
            accelerator="auto",
            devices=1,
            max_steps=max_steps,
            min_epochs=0,
            limit_val_batches=1,
            precision=precision(record.recipe),
            callbacks=[watch],
            logger=False,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        ).fit(module, batches, loader(dataset.validation[:1], 1))
    return getattr(batches, "pace", None)


def precision(recipe: Recipe) -> Precision:
    """Name the precision of the steps in Lightning's words: bfloat16 where it is not emulated."""
    return "bf16-mixed" if recipe.precision == "bfloat16" and has_bfloat16() else "32-true"
