"""What an operator measures: Prometheus metrics, in one set over all workers.

Names follow the field's habit: units in the name, `_total` for counters. Labels are route
templates, codes and names of the manifest, never anything that a client chose. Children of
labelled metrics are looked up once; a request then costs a few additions.

With several workers each process keeps its numbers in files of a common folder
(`PROMETHEUS_MULTIPROC_DIR`, set by `service.server.workers` before this module is loaded).
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import get_args
from weakref import WeakKeyDictionary

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import Metric

from service.observability.counters import Statistics
from service.observability.exposition import Exposition
from service.observability.process import Usage
from service.observability.tracing import Tracing
from service.postprocessing.drift import Drift, Seen
from service.registry.classifier import Classifier
from service.registry.outcome import Answered
from service.registry.registry import Models, Outcome
from service.settings import MULTIPROCESS_FOLDER

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STAGES = ("decode", "preprocess", "queue", "infer")


class Telemetry:
    """The metrics of one process, in a registry of its own.

    Attributes:
        statistics: Of each model, in the words of the V2 protocol.
    """

    def __init__(self, models: Models, tracing: Tracing | None = None) -> None:
        """Register all metrics; `changed` connects them with the models."""
        self._tracing = tracing
        disable_created_metrics()  # a gauge beside each counter that nobody asks for
        self.registry = registry = CollectorRegistry()
        if MULTIPROCESS_FOLDER not in os.environ:  # those two know one process only
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
        self.requests = Counter(
            "resnet_requests_total",
            "HTTP requests answered.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "resnet_request_duration_seconds",
            "From the request's headers to the end of the answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.refusals = Counter(
            "resnet_refusals_total",
            "Requests refused, by the problem's code.",
            ("code",),
            registry=registry,
        )
        self.images = Counter("resnet_images_total", "Images answered.", registry=registry)
        self.executed = Counter(
            "resnet_images_executed_total", "Images that the engine was given.", registry=registry
        )
        stage_seconds = Histogram(
            "resnet_stage_duration_seconds",
            "Time that a request spent in each stage; infer is the engine's run.",
            ("stage",),
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = [(stage, stage_seconds.labels(stage)) for stage in STAGES]
        self.batch_size = Histogram(
            "resnet_batch_size_images",
            "Images in each run of the engine.",
            buckets=BATCH_SIZES,
            registry=registry,
        )
        self.in_flight = _gauge("resnet_images_in_flight", "Images admitted, unanswered.", registry)
        self.queue = _gauge("resnet_queue_images", "Images that wait for a run.", registry)
        self._usage = Usage(registry)
        self._info = _model_info(registry)
        self.reloads = _reloads(registry)
        self.statistics: WeakKeyDictionary[Classifier, Statistics] = WeakKeyDictionary()
        self._models = models
        self._pictures = PictureCounters(lambda: models.find().drift, registry)
        is_shared = MULTIPROCESS_FOLDER in os.environ
        read = tuple if is_shared else self._window  # which is one process's own
        self._exposition = Exposition(registry, read, is_shared=is_shared)
        for classifier in models.all():
            self.changed(classifier, None)

    def changed(self, came: Classifier | None, went: Classifier | None) -> None:
        """Follow a reload: count the new model's runs, and name the old one as replaced."""
        if came is not None:
            statistics = self.statistics[came] = Statistics()
            came.batcher.observe = partial(self._ran, statistics)
            came.drift.on_picture = self._pictures.count
        with contextlib.suppress(OSError):  # no room for new names: the model serves all the same
            if went is not None:
                self._named(went).set(0)
            if came is not None:
                self._named(came).set(1)
        self._pictures.look()

    def reloaded(self, outcome: Outcome) -> None:
        """Count a candidate that was looked at."""
        self.reloads.labels(outcome).inc()

    def _named(self, classifier: Classifier) -> Gauge:
        architecture = classifier.manifest.architecture.name
        return self._info.labels(**classifier.info.model_dump(), architecture=architecture)

    def _ran(self, statistics: Statistics, images: int, seconds: float) -> None:
        statistics.ran(images, seconds)
        self.executed.inc(images)
        self.batch_size.observe(images)

    def answered(self, answered: Answered, classifier: Classifier, output_s: float = 0.0) -> None:
        """Count a request that was classified.

        Args:
            answered: What it got.
            classifier: Who answered.
            output_s: What writing the answer took, where that was measured.
        """
        self.statistics[classifier].answered(answered, output_s)
        self.images.inc(len(answered.rides))
        for stage, seconds in self._stages:
            seconds.observe(getattr(answered.timings, stage))
        if self._tracing is not None:
            self._tracing.answered(answered, classifier.info)

    def look(self) -> None:
        """Set the gauges to what is there now; the server calls this a few times a second.

        What cannot be read at the moment, say for want of descriptors, stays as it was.
        """
        classifiers = self._models.all()
        self.in_flight.set(sum(classifier.in_flight for classifier in classifiers))
        self.queue.set(sum(classifier.batcher.queued() for classifier in classifiers))
        with contextlib.suppress(OSError):
            self._usage.look()
        self._pictures.look()

    def _window(self) -> Iterable[Metric]:
        """What the default model's window says, whichever model that is at the moment."""
        return self._models.find().drift.collect()

    async def text(self) -> bytes:
        """All metrics in Prometheus' text format, of all workers.

        Raises:
            NotReadyError: If they cannot be read now.
        """
        self.look()
        return await self._exposition.text()


class PictureCounters:
    """Counters of the pictures that the default model answers, whichever it is at the moment.

    Unlike the window's gauges they add up over several workers, and they go on when the model
    is replaced; labels that its successor does not have stay at what they were.
    """

    def __init__(self, default: Callable[[], Drift], registry: CollectorRegistry) -> None:
        """Begin with the labels of the model whose window `default` gives."""
        self._default, self._registry = default, registry
        self._answers = Counter(
            "resnet_answers_total", "Pictures by top label.", ("label",), registry=registry
        )
        self._strangers: Counter | None = None  # until a default model has a score
        self._known: Drift | None = None
        self._by_label: list[Counter] = []
        self.look()

    def look(self) -> None:
        """Look up the labels of a new default model: all are there before their first rise.

        Where that fails, say on a full disk of several workers' files, nothing is counted until
        the next look.
        """
        drift = self._default()
        if drift is self._known:
            return
        with contextlib.suppress(OSError):
            self._by_label = [self._answers.labels(label) for label in drift.labels]
            if drift.has_score and self._strangers is None:
                self._strangers = Counter(
                    "resnet_out_of_distribution_total",
                    "Pictures whose score is under the threshold.",
                    registry=self._registry,
                )
            self._known = drift

    def count(self, drift: Drift, picture: Seen) -> None:
        """Count the default model's picture; the labels could not say that it is another's."""
        self.look()
        if drift is not self._known:
            return
        self._by_label[picture.label].inc()
        if self._strangers is not None and drift.has_score and picture.in_distribution is False:
            self._strangers.inc()


def _gauge(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, text, multiprocess_mode="livesum", registry=registry)


def _model_info(registry: CollectorRegistry) -> Gauge:
    return Gauge(
        "resnet_model_info",
        "A model that is served, as labels; 1, or 0 after it was replaced.",
        ("name", "version", "precision", "provider", "architecture"),
        multiprocess_mode="livemax",
        registry=registry,
    )


def _reloads(registry: CollectorRegistry) -> Counter:
    counter = Counter(
        "resnet_reloads_total",
        "Candidates looked at on a reload: loaded or refused.",
        ("outcome",),
        registry=registry,
    )
    for outcome in get_args(Outcome):
        counter.labels(outcome)  # there from the start, so that its first rise shows
    return counter
