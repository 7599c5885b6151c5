"""Ctrl+C ends a run between two steps.

Python raises `KeyboardInterrupt` wherever the main thread happens to be. About once in ten times,
with steps of some milliseconds, the process then ended two minutes later: most likely the main
thread was in the queue of TensorBoard's writer, whose own thread slept until its next flush.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, Trainer


class _Listener(Callback):
    """Remembers Ctrl+C until the step is over; a second one does not wait."""

    def __init__(self) -> None:
        self.was_asked = False

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle the signal."""
        if self.was_asked:
            raise KeyboardInterrupt
        self.was_asked = True

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop if Ctrl+C was pressed."""
        if self.was_asked:
            raise KeyboardInterrupt

    def on_validation_batch_end(self, *_: Any) -> None:
        """Stop here too: validation may be long."""
        self.on_train_batch_end()


@contextmanager
def interrupted_between_steps(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl+C end the run of a trainer between two steps, and a second one at once.

    Outside the main thread, and where Ctrl+C is ignored, nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    listener = _Listener()
    trainer.callbacks.append(listener)  # type: ignore[attr-defined]  # after those that write files
    signal.signal(signal.SIGINT, listener.handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
