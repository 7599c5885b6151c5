"""Checkpoints: when and how they are written, and how a run continues from one.

A resumed run comes to the weights of one that was not stopped. Lightning restores weights,
optimiser, schedule and position; the callbacks here do the rest.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.utils.data import DataLoader

from model.artifact.durable import sync_folder
from training.data.dataset import Batch
from training.data.loader import EpochOrder
from training.fit.lightning_internals import resumed_within_epoch, steps_done
from training.runs.folder import RunFolder


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
    """Find the system's own message among the errors that torch wrapped around it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return os.strerror(seen.errno) if seen.errno else str(seen)
        seen = seen.__cause__ or seen.__context__
    return str(error).splitlines()[0]


CHECKPOINT_EVERY = timedelta(minutes=5)
"""Work that a kill may cost at most, beside the checkpoint's own time."""


class _NamedCheckpoint(ModelCheckpoint):
    """Finds its state in a checkpoint by a fixed name, whatever the options of that run were."""

    NAME: ClassVar[str]
    """In files that people have: it stays when the class is renamed."""

    @property
    def state_key(self) -> str:
        """Name this callback's part of a checkpoint."""
        return self.NAME


class BestCheckpoint(_NamedCheckpoint):
    """Keeps the epoch that is best on the validation split; of equals the latest.

    Where few images validate, many epochs have the same accuracy. The rate has fallen furthest
    in the last of them, and the loss with it.

    Args:
        folder: The run's.
        monitor: The figure that decides.
        mode: Whether a higher ("max") or a lower one ("min") is better.
    """

    NAME = "KeepBest"

    def __init__(self, folder: RunFolder, monitor: str, mode: str) -> None:
        super().__init__(
            dirpath=folder.best.parent,
            filename=folder.best.stem,
            monitor=monitor,
            mode=mode,
            enable_version_counter=False,
        )

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Accept an epoch that is as good as the best so far, too; Lightning's must be better.

        Every process of a group has the same figures, so all decide alike.
        """
        is_better = super().check_monitor_top_k(trainer, current)
        best = self.best_model_score
        return is_better or (current is not None and best is not None and bool(current == best))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best figure so far, also where the run folder was moved since."""
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


class LastCheckpoint(_NamedCheckpoint):
    """Keeps the state after the last epoch.

    Args:
        folder: The run's.
    """

    NAME = "KeepLast"

    def __init__(self, folder: RunFolder, **when: Any) -> None:
        super().__init__(
            dirpath=folder.last.parent,
            filename=folder.last.stem,
            enable_version_counter=False,
            **when,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore nothing: there is one file, and each replaces the one before."""


class LastCheckpointWithinEpoch(LastCheckpoint):
    """Keeps the state within long epochs, too, in the same file.

    Args:
        folder: The run's.
        every: Time between two checkpoints.
    """

    NAME = "KeepLastWithinEpoch"

    def __init__(self, folder: RunFolder, every: timedelta) -> None:
        super().__init__(folder, train_time_interval=every)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the state, except after the epoch's last step: validation has to follow.

        Nor within a batch of which some parts are computed: their gradients would be lost.
        """
        is_whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_whole and not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class ExactResume(Callback):
    """Continues an epoch, and early stopping, where the checkpoint has them.

    Args:
        batches: Of the training split, shuffled.
    """

    def __init__(self, batches: DataLoader[Batch]) -> None:
        if not isinstance(batches.sampler, EpochOrder):
            raise TypeError("`batches` must be shuffled by an `EpochOrder`.")
        self._order = batches.sampler
        self._batch_size = batches.batch_size or 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Leave out the images that the epoch has seen; stop a run that had stopped early.

        Lightning knows how many steps of the epoch were done, and leaves it to the loader to
        leave out their images.
        """
        if resumed_within_epoch(trainer):
            self._order.seen = steps_done(trainer) * self._batch_size
        for stopping in trainer.early_stopping_callbacks:
            if isinstance(stopping, EarlyStopping) and stopping.wait_count >= stopping.patience:
                trainer.should_stop = True
