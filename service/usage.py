"""What the service takes of its machine, one figure over all workers.

prometheus-client's own `process_*` know one process, so that several workers have none.
"""

import os
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge

STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Gauges that add up over the workers that live; set by `look`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
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
        if STATM.exists():
            self._resident.set(int(STATM.read_text().split()[1]) * PAGE_BYTES)
