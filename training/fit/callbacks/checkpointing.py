"""What makes a stopped run go on as if it had not been stopped.

Lightning restores weights, optimiser, schedule and position; the callbacks here see to the
rest: when a checkpoint is written, and that all that it must hold is in it by then.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.utils.data import DataLoader

from model.artifact.durable import sync_folder
from training.runs.record import RunFolder


class WriteError(Exception):
    """A checkpoint could not be written; the message says why. The one before is whole."""


class DurableCheckpoints(TorchCheckpointIO):
    """Writes beside the target, syncs, renames: the old file stays until the new one is whole."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ARG002  # Lightning's signature
    ) -> None:
        """Replace `path` by the checkpoint.

        Raises:
            WriteError: If there is no room for it, or the disk refuses.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except (OSError, RuntimeError) as error:  # torch's writer wraps what the disk said
            raise WriteError(f"{target} could not be written: {_cause(error)}.") from error
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def _cause(error: BaseException) -> str:
    """Find what the system said, under what torch made of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return os.strerror(seen.errno) if seen.errno else str(seen)
        seen = seen.__cause__ or seen.__context__
    return str(error).splitlines()[0]


KEEP_EVERY = timedelta(minutes=5)
"""How much work a kill may cost, at most, beside the checkpoint's own time."""


class _Keeper(ModelCheckpoint):
    """Is found again in a checkpoint by its name, whatever the options of that run were."""

    @property
    def state_key(self) -> str:
        """Name this callback's part of a checkpoint."""
        return type(self).__qualname__


class KeepBest(_Keeper):
    """Keeps the epoch that did best on the validation split; of equals the latest.

    Where few pictures validate, many epochs have the same accuracy. The rate has fallen
    furthest in the last of them, and the loss with it.

    Args:
        folder: The run's.
        monitor: The figure that tells what is best.
        mode: Whether a higher ("max") or a lower one ("min") is better.
    """

    def __init__(self, folder: RunFolder, monitor: str, mode: str) -> None:
        """Write `best.ckpt`, and no other file."""
        super().__init__(
            dirpath=folder.best.parent,
            filename=folder.best.stem,
            monitor=monitor,
            mode=mode,
            enable_version_counter=False,
        )

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Keep an epoch that is as good as the best so far, too; Lightning asks for a better one.

        Every process of a group has the same figures, so they agree without asking.
        """
        is_better = super().check_monitor_top_k(trainer, current)
        best = self.best_model_score
        return is_better or (current is not None and best is not None and bool(current == best))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best figure so far, also where the run folder was moved since."""
        if state_dict["best_model_score"] is None:  # stopped within the first epoch
            return
        here = str(Path(str(self.dirpath)) / Path(state_dict["best_model_path"]).name)
        moved = {
            "dirpath": self.dirpath,
            "best_model_path": here,
            "kth_best_model_path": here,
            "best_k_models": {here: state_dict["best_model_score"]},
        }
        super().load_state_dict({**state_dict, **moved})


class KeepLast(_Keeper):
    """Keeps the state after the last epoch.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: RunFolder, **when: Any) -> None:
        """Write `last.ckpt`, and no other file."""
        super().__init__(
            dirpath=folder.last.parent,
            filename=folder.last.stem,
            enable_version_counter=False,
            **when,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember nothing: there is one file, and each replaces the one before."""


class KeepLastWithinEpoch(KeepLast):
    """Keeps the state of long epochs, too, in the same file.

    Args:
        folder: The run's.
        every: Time between two checkpoints.
    """

    def __init__(self, folder: RunFolder, every: timedelta) -> None:
        """Look at the clock after each step."""
        super().__init__(folder, train_time_interval=every)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the state, but after the epoch's last step: validation still has to follow."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class ExactResume(Callback):
    """Closes what Lightning leaves open between a checkpoint and what followed it."""

    def __init__(self) -> None:
        """Begin without dice to put back."""
        self._dice: Tensor | None = None

    def on_load_checkpoint(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Remember torch's dice, as they lay."""
        self._dice = checkpoint["random"]["torch"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Begin where the run was, and have plateaus moved before the checkpoint.

        Lightning knows how many steps of the epoch were done, and leaves it to the loader
        to pass over their pictures; the loader has by then drawn once more from torch's dice
        than it had in the run that was stopped. And Lightning moves a plateau that counts
        epochs only after the epoch's checkpoint is written; one that counts as many steps as
        the epoch has is moved before it.
        """
        loop, pictures = trainer.fit_loop, trainer.train_dataloader
        if loop.restarted_mid_epoch and isinstance(pictures, DataLoader):
            pictures.sampler.seen = (loop.batch_idx + 1) * (pictures.batch_size or 1)  # type: ignore[attr-defined]
            if self._dice is not None:
                torch.set_rng_state(self._dice)
        for schedule in trainer.lr_scheduler_configs:
            if schedule.reduce_on_plateau:
                schedule.interval = "step"
                schedule.frequency = int(trainer.num_training_batches)
        for stopping in trainer.early_stopping_callbacks:
            if isinstance(stopping, EarlyStopping) and stopping.wait_count >= stopping.patience:
                trainer.should_stop = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Count anew: the last epoch's checkpoint holds its figures, at their end.

        Lightning does not call this where it goes on within an epoch.
        """
        for metric in (pl_module.train_loss, pl_module.train_accuracy):
            metric.reset()  # type: ignore[operator, union-attr]
