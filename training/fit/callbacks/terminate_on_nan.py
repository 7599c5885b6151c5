"""Stop a run at the first NaN or infinity, before anything is lost.

A loss that is not finite ruins every weight in the next step. So the loss is checked before the
backward pass, and the weights before they are written: every checkpoint is finite.
"""

import io
import math
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from model.artifact.durable import replace_synced
from training.data.dataset import Batch
from training.runs.folder import RunFolder


class NotFiniteError(Exception):
    """A loss or weight is NaN or infinite; the message says where, and what was kept."""


class TerminateOnNaN(Callback):
    """Stops a run at the first loss, or the first weight, that is not finite.

    Args:
        folder: The run's; the batch is written there.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._batch: Batch | None = None
        self._step = 0
        self._augmentation = torch.empty(0)

    def on_train_batch_start(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Remember the batch, and the random state that will augment it."""
        self._batch, self._step = batch, batch_idx
        self._augmentation = pl_module.augmentation.get_state()  # type: ignore[operator, union-attr]

    def on_before_backward(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        loss: Tensor,
    ) -> None:
        """Stop where the loss is not finite."""
        value = loss.item()
        if not math.isfinite(value):
            self._stop(trainer, f"The loss is {value}", value)

    def on_save_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],  # noqa: ARG002
    ) -> None:
        """Stop where the last step left a weight that is not finite."""
        for name, weight in pl_module.named_parameters():
            if not bool(weight.isfinite().all()):
                self._stop(trainer, f"The weight {name} is not finite", math.nan)

    def _stop(self, trainer: Trainer, what: str, loss: float) -> None:
        """Write the batch into the run folder, and say what was kept.

        Raises:
            NotFiniteError: Always.
        """
        epoch, step = trainer.current_epoch, self._step
        position = {"epoch": epoch, "step": step, "loss": loss}
        batch = self._write_batch(position) if trainer.is_global_zero else "was not kept here"
        kept = (
            f"the last good checkpoint is {self.folder.last}"
            if self.folder.last.exists()
            else "there was no checkpoint yet"
        )
        raise NotFiniteError(
            f"{what} in epoch {epoch + 1}, step {step + 1}: stopped before it was written; {kept}. "
            f"The batch {batch}. A lower learning rate often helps: start a new run, or one "
            "with --init and that checkpoint."
        )

    def _write_batch(self, position: dict[str, float]) -> str:
        """Write the batch; say where it is, or why it could not be written."""
        where = self.folder.bad_batch
        if self._batch is not None:
            images, targets = (part.cpu() for part in self._batch)
            batch = {"images": images, "targets": targets, "augmentation": self._augmentation}
            file = io.BytesIO()  # torch would hide the system's own error
            torch.save({**batch, **position}, file)
            try:
                replace_synced(where, file.getvalue())
            except OSError as error:
                return f"could not be written to {where} ({error.strerror})"
        return f"is in {where}"
