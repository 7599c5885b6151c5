"""What the service uses of its machine, one figure over all workers.

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
    """Open it once and keep it open: later there may be no free descriptor."""
    try:
        return os.open(STATM, os.O_RDONLY)
    except OSError:  # no Linux
        return None


class Usage:
    """Gauges that add up over the live workers; set by `refresh`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._statm = _open_statm()
        self._resident = Gauge(
            "resnet_resident_memory_bytes",
            "Resident memory of all workers; shared memory counts for each.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._cpu = Gauge(
            "resnet_cpu_seconds",
            "Processor time of the present workers; falls when one is replaced.",
            multiprocess_mode="livesum",
            registry=registry,
        )

    def refresh(self) -> None:
        """Read what this process uses; the memory on Linux alone."""
        self._cpu.set(time.process_time())
        if self._statm is not None:
            pages = os.pread(self._statm, 200, 0).split()[1]
            self._resident.set(int(pages) * PAGE_BYTES)
