"""Threads are started at the start, since later there may be no room for one.

A thread that finds no memory for its first step leaves whoever started it waiting for ever
(`threading.Thread.start` in CPython), and that would be the event loop.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

from service.log import log

TOGETHER_S = 10.0


def started_pool(count: int, name: str) -> ThreadPoolExecutor:
    """Make a pool whose threads all run; by default it starts each when there is work for it."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    together = Barrier(count)  # each is busy until all are there

    def wait() -> None:
        with suppress(BrokenBarrierError):
            together.wait(TOGETHER_S)

    try:
        for _ in range(count):
            pool.submit(wait)
    except RuntimeError as error:
        together.abort()
        fields = {"pool": name, "wanted": count, "why": str(error)}
        log.warning("threads missing", extra={"fields": fields})
    return pool
