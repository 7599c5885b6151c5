"""Pools whose threads are all started at once, since later there may be no memory for one.

A thread that finds no memory for its first step leaves the thread that started it waiting for ever
(`threading.Thread.start` in CPython), and that would be the event loop.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

from service.log import log

START_TIMEOUT_S = 10.0


def started_pool(count: int, name: str) -> ThreadPoolExecutor:
    """Make a pool whose threads all run; by default each is started when there is work for it."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    all_started = Barrier(count)  # each is busy until all are there

    def wait() -> None:
        with suppress(BrokenBarrierError):
            all_started.wait(START_TIMEOUT_S)

    try:
        for _ in range(count):
            pool.submit(wait)
    except RuntimeError as error:
        all_started.abort()
        fields = {"pool": name, "wanted": count, "why": str(error)}
        log.warning("threads missing", extra={"fields": fields})
    return pool
