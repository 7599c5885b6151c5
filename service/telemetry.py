"""What an operator sees: Prometheus metrics, and one line in the log for each request.

Names follow the field's habit: units in the name, `_total` for counters. Labels are route
templates and codes, never anything that a client chose.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from service.classifier import Classified, Classifier

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LIBRARIES = ("asyncio", "PIL", "python_multipart")
"""Only their warnings are worth a line; Pillow tells each chunk of a file at debug level."""
STAGES = ("decode", "preprocess", "queue", "infer")

log = logging.getLogger("service")


class Telemetry:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, classifier: Classifier) -> None:
        """Register all metrics; gauges look at the classifier when they are asked."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "resnet_requests_total",
            "HTTP requests answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "resnet_request_duration_seconds",
            "From the request's headers to the end of the answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.refusals = Counter(
            "resnet_refusals_total",
            "Requests refused, by the problem's code.",
            ("code",),
            registry=self.registry,
        )
        self.images = Counter("resnet_images_total", "Images answered.", registry=self.registry)
        self.stage_seconds = Histogram(
            "resnet_stage_duration_seconds",
            "Time that a request spent in each stage; infer is the engine's run.",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "resnet_batch_size_images",
            "Images in the engine's run that a request rode in.",
            buckets=BATCH_SIZES,
            registry=self.registry,
        )
        under_way = Gauge(
            "resnet_images_under_way",
            "Images admitted and not yet answered.",
            registry=self.registry,
        )
        under_way.set_function(lambda: classifier.batcher.under_way)
        info = Gauge(
            "resnet_model_info",
            "The model that is served, as labels; always 1.",
            ("name", "version", "precision", "provider", "architecture"),
            registry=self.registry,
        )
        info.labels(
            **classifier.info.model_dump(), architecture=classifier.manifest.architecture.name
        ).set(1)

    def answered(self, classified: Classified) -> None:
        """Count a request that was classified."""
        self.images.inc(len(classified.results))
        self.batch_size.observe(classified.batch_size)
        for stage in STAGES:
            self.stage_seconds.labels(stage).observe(getattr(classified.timings, stage))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: escaped, so that nothing a client sent can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and what `extra={"fields": {...}}` adds."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class TextFormatter(logging.Formatter):
    """The same for people: message first, then name=value, with control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Level, message, fields."""
        fields = getattr(record, "fields", {})
        told = "".join(f" {name}={json.dumps(value)}" for name, value in fields.items())
        text = f"{record.levelname.lower():7} {record.getMessage()}{told}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def set_up_logging(level: str, style: Literal["json", "text"]) -> None:
    """Send our log, and those of what we use, to stderr in one style."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    least = logging.getLevelNamesMapping()[level.upper()]
    for name in ("service", "uvicorn", *LIBRARIES):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(max(least, logging.WARNING) if name in LIBRARIES else least)
        logger.propagate = False
    logging.getLogger("uvicorn.access").disabled = True  # ours has the request's id and stages
