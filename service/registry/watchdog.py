"""End a process that is not ready in time: a run of onnxruntime cannot be interrupted."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LOAD_TIMEOUT_S = 120.0
"""Time limit of a trial load."""


@contextmanager
def ready_within(seconds: float, what: str) -> Iterator[None]:
    """Exit with 1 and one line if the block takes longer.

    Args:
        seconds: Wall clock time.
        what: Subject of the line.
    """
    line = f"error: {what} did not load within {seconds:g} s.\n"
    timer = threading.Timer(seconds, _end, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()
    os._exit(1)
