"""The garbage collector, and memory to return to the system after a reload or a large request."""

import ctypes
import gc
import mmap
import resource
import sys
import threading

UNCHECKED_BYTES = 1_048_576
HEADROOM_BYTES = 4_194_304
"""What a small request may need."""
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of glibc's malloc.h
MMAP_BYTES = 131_072
YOUNG_OBJECTS = 20_000
"""Allocated and not freed since the last collection; several hundred requests in flight."""


def freeze_gc() -> None:
    """Exempt what is loaded from garbage collection, and collect less often.

    Requests leave almost no cycles behind. By default the collector would walk over those in
    flight some hundred times a second, which is a twentieth of a small network's request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


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
    """Tell whether the process's memory is limited (`ulimit -v`).

    Then glibc is told to return large blocks at once.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return False
    _mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
    return True


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
