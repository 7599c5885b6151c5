"""Prometheus metrics, in one set over all workers.

Names follow Prometheus' conventions: units in the name, `_total` for counters. Labels are route
templates, codes and names of the manifest, never anything that a client chose. Children of
labelled metrics are found once; a request then costs a few additions.

With several workers each process keeps its numbers in files of a common folder
(`PROMETHEUS_MULTIPROC_DIR`, set by `service.server.workers` before this module is loaded).
"""

import contextlib
import os
from typing import get_args
from weakref import WeakKeyDictionary

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from service.errors import STATUS
from service.observability.buffered import BufferedCounter, BufferedHistogram
from service.observability.counters import Statistics
from service.observability.drift import drift_metrics
from service.observability.exposition import Exposition
from service.observability.predictions import PredictionCounters
from service.observability.process import Usage
from service.observability.tracing import Tracing
from service.registry.classifier import Classifier
from service.registry.observers import Observers
from service.registry.outcome import Outcome, Timings
from service.registry.registry import ModelRegistry, ReloadOutcome
from service.settings import MULTIPROCESS_FOLDER

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
MAX_BUFFERED = 512
"""Requests whose times are counted at once; under uvicorn without our server nothing else asks."""
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Telemetry:
    """The metrics of one process, in a registry of its own.

    Attributes:
        failures: Counts requests that failed, by the problem's code.
        statistics: Of each model, for the V2 protocol.
        observers: What models report to.
    """

    def __init__(self, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
        disable_created_metrics()  # one more gauge for each counter
        self.registry = registry = CollectorRegistry()
        if MULTIPROCESS_FOLDER not in os.environ:  # these two know one process only
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
        self.requests = BufferedCounter(
            "resnet_requests_total",
            "HTTP requests and gRPC calls answered.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.request_seconds = BufferedHistogram(
            "resnet_request_duration_seconds",
            "From the request's headers to the end of the response.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.failures = Counter(
            "resnet_request_failures_total",
            "Requests that failed or were rejected, by the problem's code.",
            ("code",),
            registry=registry,
        )
        for kind in STATUS:
            self.failures.labels(kind.code)  # now, so that Prometheus sees the step from 0 to 1
        self.key_requests = BufferedCounter(
            "resnet_key_requests_total",
            "Requests with a valid API key, by the key's name.",
            ("key",),
            registry=registry,
        )
        self.images = BufferedCounter("resnet_images_total", "Images answered.", registry=registry)
        self.executed = BufferedCounter(
            "resnet_images_executed_total",
            "Images that were run, answered or not.",
            registry=registry,
        )
        stage_seconds = BufferedHistogram(
            "resnet_stage_duration_seconds",
            "Time that a request spent in each stage; infer is the engine's run.",
            ("stage",),
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = [stage_seconds.labels(stage) for stage in Timings._fields]
        self._stage_values = [stage.values for stage in self._stages]
        self.batch_size = BufferedHistogram(
            "resnet_batch_size_images",
            "Images in each run of the engine.",
            buckets=BATCH_SIZES,
            registry=registry,
        )
        self._buffered: list[BufferedCounter | BufferedHistogram] = [self.images, self.executed]
        self._buffered += [self.batch_size, *self._stages]
        self.in_flight = _gauge(
            "resnet_images_in_flight", "Images admitted and not yet answered.", registry
        )
        self.queue = _gauge("resnet_queue_images", "Images that wait for a run.", registry)
        self._usage = Usage(registry)
        self._info = _model_info(registry)
        self.reloads = _reloads(registry)
        self.statistics: WeakKeyDictionary[Classifier, Statistics] = WeakKeyDictionary()
        self._predictions = PredictionCounters(registry)
        self._exposition = Exposition(registry, is_shared=MULTIPROCESS_FOLDER in os.environ)
        self.observers = Observers(self.record_batch, self._predictions.count)

    def on_models_changed(
        self, default: Classifier, added: Classifier | None, removed: Classifier | None
    ) -> None:
        """Begin to count for a new model, and mark a removed one; see `ModelRegistry`."""
        if added is not None:
            self.statistics[added] = Statistics()
        with contextlib.suppress(OSError):  # the disk is full: the model is served anyway
            if removed is not None:
                self._info_of(removed).set(0)
            if added is not None:
                self._info_of(added).set(1)
        self._predictions.refresh(default.drift)

    def request_metrics(
        self, route: str, method: str, status: int
    ) -> tuple[BufferedCounter, BufferedHistogram]:
        """Give what counts the requests of these labels, and takes their seconds.

        Call it once for each: routes, methods and statuses are a fixed set.
        """
        found = (
            self.requests.labels(route, method, str(status)),
            self.request_seconds.labels(route),
        )
        self._buffered += found
        return found

    def key_counter(self, key: str) -> BufferedCounter:
        """Give what counts the requests with a key, by its name; call it once for each."""
        found = self.key_requests.labels(key)
        self._buffered.append(found)
        return found

    def flush(self) -> None:
        """Count what is buffered: other workers read it only then."""
        with contextlib.suppress(OSError):  # the disk with several workers' files is full
            for metric in self._buffered:
                metric.flush()
        self._predictions.flush()

    def record_reload(self, outcome: ReloadOutcome) -> None:
        """Count a candidate of a reload."""
        self.reloads.labels(outcome).inc()

    def record_batch(self, classifier: Classifier, images: int, seconds: float) -> None:
        """Count a run of the engine."""
        tally = self.statistics[classifier].batches[images]
        tally.count += 1
        tally.seconds += seconds
        self.executed.more += images
        self.batch_size.values.append(images)

    def record_request(
        self, outcome: Outcome, classifier: Classifier, output_s: float = 0.0
    ) -> None:
        """Count a request that was answered.

        Args:
            outcome: Its outputs and timings.
            classifier: The model that answered.
            output_s: What writing the answer took, where that was measured.
        """
        self.statistics[classifier].record_request(outcome, output_s)
        self.images.more += len(outcome.outputs)
        for values, seconds in zip(self._stage_values, outcome.timings, strict=True):
            values.append(seconds)
        if len(values) >= MAX_BUFFERED:
            self.flush()
        if self._tracing is not None:
            self._tracing.record_request(outcome, classifier.info)

    def refresh(self, models: ModelRegistry) -> None:
        """Set the gauges to their present values; the server calls this a few times a second.

        What cannot be read at the moment, say for want of descriptors, stays as it was.
        """
        self.flush()
        classifiers = models.all()
        self.in_flight.set(sum(classifier.in_flight for classifier in classifiers))
        self.queue.set(sum(classifier.batcher.queued() for classifier in classifiers))
        with contextlib.suppress(OSError):
            self._usage.refresh()
        self._predictions.refresh(models.find().drift)

    async def render(self, models: ModelRegistry) -> bytes:
        """Write all metrics of all workers in Prometheus' text format.

        Raises:
            NotReadyError: If they cannot be read now.
        """
        self.refresh(models)
        return await self._exposition.render(drift_metrics(models.find().drift))

    def _info_of(self, classifier: Classifier) -> Gauge:
        architecture = classifier.manifest.architecture.name
        return self._info.labels(**classifier.info.model_dump(), architecture=architecture)


def _gauge(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, text, multiprocess_mode="livesum", registry=registry)


def _model_info(registry: CollectorRegistry) -> Gauge:
    return Gauge(
        "resnet_model_info",
        "A served model, as labels; 1, or 0 after it was replaced.",
        ("name", "version", "precision", "provider", "architecture"),
        multiprocess_mode="livemax",
        registry=registry,
    )


def _reloads(registry: CollectorRegistry) -> Counter:
    counter = Counter(
        "resnet_reloads_total",
        "Candidates of reloads: loaded or refused.",
        ("outcome",),
        registry=registry,
    )
    for outcome in get_args(ReloadOutcome):
        counter.labels(outcome)  # now, so that Prometheus sees its step from 0 to 1
    return counter
