"""The watch over a run's figures: NaN or infinity stops it before anything is lost.

A loss that is no number ruins every weight in the next step. So the loss is looked at
before it is followed back, and the weights before they are written: a checkpoint is
always whole and finite.
"""

import io
import math
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from model.artifact.durable import replace_synced
from training.data.dataset import Batch
from training.runs.record import RunFolder


class NotFiniteError(Exception):
    """Training came to NaN or infinity; the message says where, and what was kept."""


class FiniteTraining(Callback):
    """Stops a run at the first loss, or the first weight, that is not finite.

    Args:
        folder: Where the batch that did it is put.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Remember where to write."""
        self.folder = folder
        self._batch: Batch | None = None
        self._dice = torch.empty(0)

    def on_train_batch_start(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Remember the batch, and the dice that will augment it."""
        self._batch = batch
        self._dice = pl_module.augmentation.get_state()  # type: ignore[operator, union-attr]

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
        """Put the batch beside the run, and say what was kept.

        Raises:
            NotFiniteError: Always.
        """
        epoch, step = trainer.current_epoch, trainer.fit_loop.batch_idx
        place = {"epoch": epoch, "step": step, "loss": loss}
        batch = self._keep_batch(place) if trainer.is_global_zero else "was not kept here"
        kept = (
            f"the last good checkpoint is {self.folder.last}"
            if self.folder.last.exists()
            else "there was no checkpoint yet"
        )
        raise NotFiniteError(
            f"{what} in epoch {epoch + 1}, step {step + 1}: stopped before it was written; {kept}. "
            f"The batch {batch}. A lower learning rate often helps: begin anew, or "
            "with --init and that checkpoint."
        )

    def _keep_batch(self, place: dict[str, float]) -> str:
        """Write the batch; say where it is, or what kept it from being written."""
        where = self.folder.bad_batch
        if self._batch is not None:
            images, targets = (part.cpu() for part in self._batch)
            pictures = {"images": images, "targets": targets, "augmentation": self._dice}
            file = io.BytesIO()  # torch hides what a disk says
            torch.save({**pictures, **place}, file)
            try:
                replace_synced(where, file.getvalue())
            except OSError as error:
                return f"could not be written to {where} ({error.strerror})"
        return f"is in {where}"
