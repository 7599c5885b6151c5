"""End the process in time, even if a thread never ends or none can be started any more."""

import os
import signal
import threading
from collections.abc import Awaitable, Callable

from service.log import log

MAX_EXIT_S = 10.0
"""For threads and tracing to end when every request has been answered."""


def exit_within(seconds: float, code: int) -> None:
    """End the process with an exit code if it still runs by then; a second call sets both anew.

    Python joins the threads of its pools at exit, even one that reads from a hung disk. The
    system's timer needs neither a thread nor memory. Outside of the main thread nothing is done.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, lambda *_: _end(code))
        signal.setitimer(signal.ITIMER_REAL, seconds)


def with_time_limit(end: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Wrap `end` so that the process exits a while after it was called, even if it hangs."""

    async def end_with_limit() -> None:
        exit_within(MAX_EXIT_S, 0)
        await end()

    return end_with_limit


def _end(code: int) -> None:
    try:
        log.warning("exit forced: something did not end in time")
        for handler in log.handlers:
            handler.flush()
    finally:
        os._exit(code)
