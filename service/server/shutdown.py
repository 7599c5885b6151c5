"""The end of the process, also where a thread never ends or none can be started any more."""

import os
import signal
import threading
from collections.abc import Awaitable, Callable

from service.log import log

END_S = 10.0
"""For threads and traces to end when every request has been answered."""


def end_within(seconds: float, code: int) -> None:
    """Have the process end by then with that exit code; a second call sets both anew.

    Python joins the threads of its pools at exit, one that reads from a hung disk included. The
    system's timer needs neither a thread nor memory. Outside of the main thread nothing is done.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, lambda *_: _end(code))
        signal.setitimer(signal.ITIMER_REAL, seconds)


def in_time(end: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Have the process end a while after `end` was called, whether or not that returns."""

    async def end_in_time() -> None:
        end_within(END_S, 0)
        await end()

    return end_in_time


def _end(code: int) -> None:
    try:
        log.warning("ended without waiting any longer")
        for handler in log.handlers:
            handler.flush()
    finally:
        os._exit(code)
