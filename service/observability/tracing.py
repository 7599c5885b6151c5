"""OpenTelemetry traces, if OpenTelemetry's variables ask for them; otherwise they cost nothing.

FastAPI makes the span of a request and continues W3C's `traceparent`, once it is given a
provider. This module makes that provider from OpenTelemetry's own variables, and adds a span for
each stage when a request has been answered: their times are known by then, and the hot path
does no more than before.
"""

import os
import time
from collections.abc import Mapping
from importlib.metadata import version

from opentelemetry import trace

from service.errors import StartError
from service.postprocessing.schemas import ModelInfo
from service.registry.outcome import Outcome

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORTERS = ("otlp", "console")
NAME = "resnet-service"


class Tracing:
    """Writes the spans of requests.

    Args:
        provider: Of OpenTelemetry's SDK, with its exporters.
    """

    def __init__(self, provider: trace.TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer(NAME, version(NAME))

    def record_request(self, outcome: Outcome, info: ModelInfo) -> None:
        """Add the stages of a request under its own span; to be called within the request."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        span.set_attributes({f"resnet.model.{name}": value for name, value in info})
        span.set_attribute("resnet.images", len(outcome.outputs))
        epoch_ns = time.time_ns() - time.perf_counter_ns()
        for stage, (began, ended) in _spans(outcome).items():
            child = self._tracer.start_span(stage, start_time=epoch_ns + int(1e9 * began))
            if stage == "infer":
                child.set_attribute("resnet.batch_size", outcome.batch_size)
            child.end(epoch_ns + int(1e9 * ended))

    def stop(self) -> None:
        """Send what is left; may take as long as the exporter's timeout."""
        shutdown = getattr(self.provider, "shutdown", None)  # the SDK has it, the API has not
        if shutdown is not None:
            shutdown()


def _spans(outcome: Outcome) -> dict[str, tuple[float, float]]:
    """Stage -> from its first image's start to its last one's end, by `perf_counter`."""
    found: dict[str, tuple[float, float]] = {}
    if outcome.prepared:
        read = [(each.began, each.began + each.decode_s, each) for each in outcome.prepared]
        found["decode"] = min(r[0] for r in read), max(r[1] for r in read)
        found["preprocess"] = min(r[1] for r in read), max(r[1] + r[2].preprocess_s for r in read)
    outputs = outcome.outputs
    found["queue"] = min(r.began - r.queue_s for r in outputs), max(r.began for r in outputs)
    found["infer"] = min(r.began for r in outputs), max(r.began + r.infer_s for r in outputs)
    return found


def start_tracing(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Trace if OpenTelemetry's variables name an endpoint or an exporter.

    Raises:
        StartError: If the extra `tracing` is not installed, or the exporter is not supported.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    is_requested = bool(exporter) or any(environment.get(name) for name in ENDPOINTS)
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or exporter == "none" or not is_requested:
        return None
    if exporter not in ("", *EXPORTERS):
        raise StartError(
            f"OTEL_TRACES_EXPORTER (={exporter[:40]!r}) must be {', '.join(EXPORTERS)} or none."
        )
    try:
        return Tracing(_provider(exporter or "otlp", environment))
    except ImportError as error:
        raise StartError(
            f"OpenTelemetry's variables switch on traces, but {error.name} is not "
            "installed. Install the extra `tracing`, or set OTEL_SDK_DISABLED=true."
        ) from error


def _provider(exporter: str, environment: Mapping[str, str]) -> trace.TracerProvider:
    """Make a provider; the SDK reads sampler, batches and limits from its own variables."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SpanExporter,
    )

    attributes = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    is_named = "OTEL_SERVICE_NAME" in environment or "service.name=" in attributes
    provider = TracerProvider(resource=Resource.create({} if is_named else {"service.name": NAME}))
    spans: SpanExporter
    if exporter == "console":
        spans = ConsoleSpanExporter()
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        spans = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(spans))
    return provider
