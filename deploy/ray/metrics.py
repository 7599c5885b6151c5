"""Five metrics of the service as metrics of Ray, which each node's agent exports.

Through Ray's router `/metrics` answers for one replica, chosen at random. Ray adds the tags
`application`, `deployment` and `replica`, and the prefix `ray_`.
"""

from prometheus_client import Counter, Gauge
from prometheus_client.samples import Sample
from ray.serve import metrics

from service.observability.metrics import Telemetry


class Mirror:
    """Copies requests, failures, images, images in flight and images queued.

    Args:
        telemetry: Of the service, in this process.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        counters = (telemetry.requests, telemetry.failures, telemetry.images)
        self._counters = [_MirroredCounter(counter) for counter in counters]
        self._gauges = [_MirroredGauge(gauge) for gauge in (telemetry.in_flight, telemetry.queue)]

    def update(self) -> None:
        """Bring Ray's metrics up to date."""
        for counter in self._counters:
            counter.update()
        for gauge in self._gauges:
            gauge.update()


class _MirroredCounter:
    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._seen: dict[tuple[str, ...], float] = {}
        self._copy: metrics.Counter | None = None

    def update(self) -> None:
        """Add what was counted since the last time."""
        for sample in _samples(self._counter):
            key = tuple(sample.labels.values())
            if self._copy is None:
                name, text = sample.name.removesuffix("_total"), _text(self._counter)
                self._copy = metrics.Counter(name, text, tag_keys=tuple(sample.labels))
            more = sample.value - self._seen.get(key, 0.0)
            if more > 0:
                self._copy.inc(more, tags=sample.labels)
            self._seen[key] = sample.value


class _MirroredGauge:
    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        (sample,) = _samples(gauge)
        self._copy = metrics.Gauge(sample.name, _text(gauge))

    def update(self) -> None:
        (sample,) = _samples(self._gauge)
        self._copy.set(sample.value)


def _samples(metric: Counter | Gauge) -> list[Sample]:
    return [sample for family in metric.collect() for sample in family.samples]


def _text(metric: Counter | Gauge) -> str:
    return next(iter(metric.collect())).documentation
