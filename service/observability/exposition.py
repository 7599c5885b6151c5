"""All metrics as text for Prometheus, written beside the event loop.

With several workers each keeps its numbers in files of a common folder, and whichever is asked
adds them up.
"""

import asyncio
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.errors import NotReadyError
from service.log import log


class Exposition(Collector):
    """Writes what a registry holds, and what is read on the event loop alone.

    Args:
        registry: Its metrics may be read in any thread.
        read: Gives the other metrics; called on the event loop.
        is_shared: Whether other workers' numbers are added.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        read: Callable[[], Iterable[Metric]],
        *,
        is_shared: bool,
    ) -> None:
        """Register the others."""
        self._registry = registry
        self._read = read
        self._is_shared = is_shared
        self._metrics: list[Metric] = []
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance: labels and quantities are the model's own."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Give what was read last."""
        return self._metrics

    async def text(self) -> bytes:
        """Give all metrics; those of a thousand labels take 10 ms to write.

        Raises:
            NotReadyError: If they cannot be read now: files are gone, or descriptors ran out.
        """
        self._metrics = list(self._read())
        try:
            return await asyncio.to_thread(self._written)
        except (OSError, ValueError) as error:
            log.warning("metrics not read", extra={"fields": {"why": str(error)}})
            raise NotReadyError(
                "The metrics cannot be read now; the log says why. Predictions are answered."
            ) from error

    def _written(self) -> bytes:
        if not self._is_shared:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)
        return generate_latest(everybody)
