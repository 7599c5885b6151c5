"""Stop a run at the first NaN or infinity, before anything is lost.

A loss that is not finite ruins every weight in the next step. So the loss is checked before the
backward pass, and the weights before they are written: every checkpoint is finite. On a GPU the
losses are noted there, and read some steps later: reading each would have it wait for the host.
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

CHECK_EVERY = 50
"""Steps between two checks on a GPU."""


class NotFiniteError(Exception):
    """A loss or weight is NaN or infinite; the message says where, and what was kept."""


class TerminateOnNaN(Callback):
    """Stops a run at the first loss, or the first weight, that is not finite.

    Args:
        folder: The run's; the batch is written there, if it is still known.
        check_every: Steps between two checks; None: each step on a CPU, `CHECK_EVERY` on a GPU.
    """

    def __init__(self, folder: RunFolder, check_every: int | None = None) -> None:
        self.folder = folder
        self._check_every = check_every
        self._batch: Batch | None = None
        self._step = 0
        self._first = torch.tensor(-1)  # step of the first loss that is not finite; -1: none
        self._loss = torch.tensor(0.0)  # that loss
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

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note the epoch's losses where they are computed."""
        self._first = torch.tensor(-1, device=pl_module.device)
        self._loss = torch.tensor(0.0, device=pl_module.device)

    def on_before_backward(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        loss: Tensor,
    ) -> None:
        """Note the first loss that is not finite; stop where it is time to look."""
        loss = loss.detach()
        is_first = ~loss.isfinite() & (self._first.to(loss.device) < 0)
        self._first = torch.where(is_first, self._step, self._first.to(loss.device))
        self._loss = torch.where(is_first, loss, self._loss.to(loss.device))
        every = self._check_every or (1 if loss.device.type == "cpu" else CHECK_EVERY)
        if (self._step + 1) % every == 0:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop where a loss of the epoch was not finite."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        first = int(self._first)
        if first >= 0:
            value = float(self._loss)
            self._stop(trainer, f"The loss is {value}", value, first)

    def on_save_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],  # noqa: ARG002
    ) -> None:
        """Stop where a loss was not finite, or the last step left such a weight."""
        self._check(trainer)
        for name, weight in pl_module.named_parameters():
            if not bool(weight.isfinite().all()):
                what = f"The weight {name} is not finite"
                self._stop(trainer, what, math.nan, self._step)

    def _stop(self, trainer: Trainer, what: str, loss: float, step: int) -> None:
        """Write the batch into the run folder, and say what was kept.

        Raises:
            NotFiniteError: Always.
        """
        epoch, is_known = trainer.current_epoch, step == self._step and trainer.is_global_zero
        position = {"epoch": epoch, "step": step, "loss": loss}
        batch = self._write_batch(position) if is_known else "was not kept here"
        kept = (
            f"the last good checkpoint is {self.folder.last}"
            if self.folder.last.exists()
            else "there is no checkpoint yet"
        )
        raise NotFiniteError(
            f"{what} in epoch {epoch + 1}, step {step + 1}: stopped before it was "
            f"written; {kept}. The batch {batch}. A lower learning rate often helps: "
            "start a new run, or one with --init and that checkpoint."
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
