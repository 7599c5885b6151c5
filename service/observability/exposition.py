"""All metrics as text for Prometheus, written in a thread.

With several workers each keeps its numbers in files of a common folder, and the worker that is
scraped adds them up.
"""

import asyncio
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.errors import NotReadyError
from service.log import log


class Exposition(Collector):
    """Writes the metrics of a registry, and those that can be read on the event loop only.

    Args:
        registry: Its metrics may be read in any thread.
        is_shared: Whether other workers' numbers are added.
    """

    def __init__(self, registry: CollectorRegistry, *, is_shared: bool) -> None:
        self._registry = registry
        self._is_shared = is_shared
        self._metrics: list[Metric] = []
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance: labels and quantities depend on the model."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Give the metrics that `render` was given last."""
        return self._metrics

    async def render(self, metrics: Iterable[Metric]) -> bytes:
        """Write all metrics; those of a thousand labels take 10 ms.

        Args:
            metrics: Of this process alone; left out where other workers' numbers are added.

        Raises:
            NotReadyError: If they cannot be read now: files are gone, or descriptors ran out.
        """
        self._metrics = [] if self._is_shared else list(metrics)
        try:
            return await asyncio.to_thread(self._write)
        except (OSError, ValueError) as error:
            log.warning("metrics not read", extra={"fields": {"why": str(error)}})
            raise NotReadyError(
                "The metrics cannot be read now; the log says why. Predictions are not affected."
            ) from error

    def _write(self) -> bytes:
        if not self._is_shared:
            return generate_latest(self._registry)
        all_workers = CollectorRegistry()
        MultiProcessCollector(all_workers)
        return generate_latest(all_workers)
