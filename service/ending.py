"""The end of the process, also where a thread never ends or none can be started any more."""

import os
import signal
import threading

from service.log import log

END_S = 10.0
"""For threads and traces to end when every request has been answered."""


def end_within(seconds: float) -> None:
    """Have the process end by then with exit code 0; a second call sets another time.

    Python joins the threads of its pools at exit, one that reads from a hung disk included. The
    system's timer needs neither a thread nor memory. Outside of the main thread nothing is done.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, _end)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _end(*_: object) -> None:
    try:
        log.warning("ended without waiting for all threads")
        for handler in log.handlers:
            handler.flush()
    finally:
        os._exit(0)
