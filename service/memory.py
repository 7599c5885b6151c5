"""The garbage collector, and memory to return to the system after a reload or a large request."""

import asyncio
import ctypes
import gc
import mmap
import resource
import sys
import threading
from contextlib import suppress

UNCHECKED_BYTES = 1_048_576
HEADROOM_BYTES = 4_194_304
"""What a small request may need."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
MMAP_BYTES = 131_072
TRIM_BYTES, TRIM_DELAY_S = 33_554_432, 0.5
"""`HeapTrimmer` acts this long after so many bytes were freed."""
YOUNG_OBJECTS = 20_000
"""Allocated and not freed since the last collection; several hundred requests in flight."""


def pause_gc() -> None:
    """Collect no garbage until `freeze_gc`: what is imported and loaded meanwhile stays.

    It would take a tenth of the start, and finds some 1,500 small objects.
    """
    gc.disable()


def freeze_gc() -> None:
    """Exempt what is loaded from garbage collection, and collect less often.

    Requests leave almost no cycles behind. By default the collector would walk over those in
    flight some hundred times a second, which is a twentieth of a small network's request.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()


_COLLECTING = threading.Lock()


def release_memory() -> None:
    """Collect garbage, and have glibc return free memory to the system.

    Collections are rare here (`freeze_gc`), and what a request left behind may refer to the model
    that answered it; glibc keeps the holes between what is still used. 90 reloads under load took
    275 MB without this, 41 MB with it (`python -m benchmarks.soak reloads`).
    """
    with _COLLECTING:  # a second collection beside a first one returns at once, with nothing done
        gc.collect()
    trim()


def trim() -> None:
    """Have glibc return what is free to the system. Any thread.

    Source:
        malloc_trim(3).
    """
    if sys.platform != "linux":  # pragma: no cover
        return
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:  # musl has none
        malloc_trim(0)


class HeapTrimmer:
    """Trims the heap when many bytes have been freed and few more follow; event loop only.

    glibc kept 190 MB after 288 refusals to 8 clients. To have it keep nothing (M_MMAP_THRESHOLD)
    would take a photograph of 46 KB 8 % longer, for pages that are mapped and unmapped each time.
    """

    def __init__(self) -> None:
        self._freed = 0  # bytes since the timer was set
        self._timer: asyncio.TimerHandle | None = None

    def freed(self, count: int) -> None:
        """Count freed bytes, and set a timer when there are enough."""
        self._freed += count
        if self._freed >= TRIM_BYTES and self._timer is None:
            self._freed = 0
            self._timer = asyncio.get_running_loop().call_later(TRIM_DELAY_S, self._trim)

    def _trim(self) -> None:
        self._timer = None
        if self._freed >= TRIM_BYTES:  # as many again: the memory would be needed at once
            self.freed(0)
            return
        with suppress(RuntimeError):  # no thread can be started; the next time will do
            asyncio.get_running_loop().run_in_executor(None, trim)


def share_one_heap() -> None:
    """Have all threads allocate from one heap; call it before they are started.

    glibc gives threads heaps of their own, and each keeps what a large request left free: 100
    bodies of 10 MB of broken JSON, parsed in a pool's threads in turn, took 477 MB, not 121.
    Decoding photographs in two threads is as fast (0.40 s for 304 of 100 KB, both ways).

    Source:
        mallopt(3), M_ARENA_MAX.
    """
    _mallopt(M_ARENA_MAX, 1)


def is_limited() -> bool:
    """Whether the process's memory is limited (`ulimit -v`).

    Then large blocks are returned to the system at once.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return False
    _mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
    return True


def keep_heap(count: int) -> None:
    """Have glibc keep so many freed bytes, and blocks up to that size, for the next allocations.

    A process that does one thing at a time would return them after each, and get them again page
    by page: a JPEG of 12 megapixels took 3 ms longer.
    """
    _mallopt(M_TRIM_THRESHOLD, count)
    _mallopt(M_MMAP_THRESHOLD, count)


def _mallopt(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(option, value)


def demand(count: int) -> None:
    """Check that the system would give so many bytes; small numbers are not checked.

    pydantic's parser ends the process where it gets no memory. Nothing is reserved, so another
    thread may be faster; 7 us.

    Raises:
        MemoryError: If it would not.
    """
    if count < UNCHECKED_BYTES:
        return
    try:
        mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryError from error


def release_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and of its causes: their frames refer to the request's body.

    A frame that refers to the error in turn, by a name or in a future, would be a cycle, which
    stays until the next garbage collection.
    """
    linked: list[BaseException | None] = [error]
    while linked:
        if (each := linked.pop()) is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            linked += [each.__cause__, each.__context__]
