"""What the service takes of its machine, one figure over all workers.

prometheus-client's own `process_*` know one process, so that several workers have none.
"""

import os
import time
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge

STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@cache
def _open_statm() -> int | None:
    """Open it once and keep it: later too many files may be open."""
    try:
        return os.open(STATM, os.O_RDONLY)
    except OSError:  # no Linux
        return None


class Usage:
    """Gauges that add up over the workers that live; set by `look`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self._statm = _open_statm()
        self._resident = Gauge(
            "resnet_resident_memory_bytes",
            "Resident memory of all workers; what they share counts for each.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._cpu = Gauge(
            "resnet_cpu_seconds",
            "Processor time that the workers have taken; falls when one is replaced.",
            multiprocess_mode="livesum",
            registry=registry,
        )

    def look(self) -> None:
        """Read what this process takes; the memory on Linux alone."""
        self._cpu.set(time.process_time())
        if self._statm is not None:
            pages = os.pread(self._statm, 200, 0).split()[1]
            self._resident.set(int(pages) * PAGE_BYTES)
