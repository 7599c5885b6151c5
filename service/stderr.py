"""Write to stderr without a lock, which could keep the process from ending."""

import asyncio
import os
import sys
import time
from io import UnsupportedOperation

RETRY_S = 0.2
"""Before the next try, where another program has made stderr non-blocking, and it is full."""


def is_on_event_loop() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def write_to_stderr(text: str) -> None:
    """Write, bypassing the buffer of `sys.stderr` and its lock.

    Raises:
        OSError, ValueError, AttributeError: If it cannot be written.
    """
    try:
        descriptor = sys.stderr.fileno()
    except UnsupportedOperation:  # not a file, as in tests
        sys.stderr.write(text)
        sys.stderr.flush()
        return
    left = memoryview(text.encode(errors="backslashreplace"))
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # another program has made it so
            time.sleep(RETRY_S)
