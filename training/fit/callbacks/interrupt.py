"""Ctrl+C and SIGTERM end a run between two steps, with a checkpoint.

Python raises `KeyboardInterrupt` wherever the main thread happens to be. About once in ten times,
with steps of some milliseconds, the process then ended two minutes later: most likely the main
thread was in the queue of TensorBoard's writer, whose own thread slept until its next flush.

Several processes end with the same step, whichever of them was signalled. Lightning's own handler
of SIGTERM waits for the other processes within the signal handler, so it is replaced.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer

from training.distributed import processes
from training.fit.process_group import ignore_sigterm
from training.runs.folder import RunFolder

ASK_EVERY = 10
"""Steps on GPUs between two questions whether a process was signalled, which wait for all hosts."""


class Listener(Callback):
    """Remembers a signal until a checkpoint can be written; a second Ctrl+C does not wait.

    Attributes:
        heard: Number of the signal; 0: none.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.heard = 0
        self._last = folder.last
        self._is_alone = processes().world_size == 1
        self._hears_sigterm = signal.getsignal(signal.SIGTERM) != signal.SIG_IGN

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle a signal."""
        if number == self.heard == signal.SIGINT and self._is_alone:
            raise KeyboardInterrupt
        self.heard = max(self.heard, number)

    def on_train_start(self, *_: Any) -> None:
        """Take the place of Lightning's handler."""
        if self._hears_sigterm:
            signal.signal(signal.SIGTERM, self.handle)

    def on_train_epoch_start(self, *_: Any) -> None:
        """Stop after an epoch whose checkpoint is written."""
        if self._was_asked():
            raise KeyboardInterrupt

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Write a checkpoint and stop, except after the last step: validation has to follow.

        Nor within a batch of which some parts are computed: their gradients would be lost.
        """
        is_whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        every = 1 if pl_module.device.type == "cpu" or self._is_alone else ASK_EVERY
        is_time = is_whole and not trainer.is_last_batch and trainer.global_step % every == 0
        if is_time and self._was_asked():
            trainer.save_checkpoint(self._last)
            raise KeyboardInterrupt

    def on_validation_batch_end(self, *_: Any) -> None:
        """Stop here too after Ctrl+C, without a checkpoint: validation may be long."""
        if self._is_alone and self.heard == signal.SIGINT:
            raise KeyboardInterrupt

    def _was_asked(self) -> bool:
        """Whether any process was signalled; from then on, all know which signal it was."""
        if not self._is_alone:
            heard = torch.tensor(self.heard)
            dist.all_reduce(heard, dist.ReduceOp.MAX)
            self.heard = int(heard)
        return self.heard > 0


@contextmanager
def interrupted_between_steps(trainer: Trainer, folder: RunFolder) -> Iterator[Listener]:
    """Let Ctrl+C and SIGTERM end the run of a trainer between two steps.

    Outside the main thread, and where a signal is ignored, nothing changes.
    """
    listener = Listener(folder)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is not threading.main_thread():
        yield listener
        return
    trainer.callbacks.append(listener)  # type: ignore[attr-defined]  # after those that write files
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, listener.handle)
    try:
        yield listener
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ignore_sigterm()
