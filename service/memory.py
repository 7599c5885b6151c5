"""The garbage collector, and memory that a retired model leaves behind."""

import ctypes
import gc
import sys

YOUNG_OBJECTS = 20_000
"""Made and not freed since the collector's last look; several hundred requests under way."""


def settle() -> None:
    """Tell the garbage collector that what is loaded will stay, and to look less often.

    Requests leave next to no cycles behind; by default the collector would walk over those
    under way some hundred times a second, which is a twentieth of a small network's request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def give_back() -> None:
    """Free what nobody holds any more, and have glibc return it to the system.

    The collector looks rarely here (`settle`), and what a request left behind may
    hold the model that answered it; glibc keeps the holes between what is still used. 90 reloads
    under load took 275 MB without this, 41 MB with it (`python -m benchmarks.soak reloads`).

    Source:
        malloc_trim(3).
    """
    gc.collect()
    if sys.platform != "linux":  # pragma: no cover
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # musl has none
        trim(0)
