"""Spans as OpenTelemetry's own SDK receives them."""

import builtins
import gzip
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from service.app import create_app
from service.errors import StartError
from service.observability.tracing import Tracing, start_tracing
from service.settings import Settings
from tests.service.conftest import MakeArtifact, Service, serving
from tests.service.images import BLACK, WHITE

pytestmark = pytest.mark.anyio

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
"""W3C's own example."""
STAGES = ["decode", "preprocess", "queue", "infer"]


@dataclass
class Collector:
    """What OpenTelemetry's collector is to its clients: an address, and what was posted there."""

    url: str
    posted: list[tuple[str, bytes]] = field(default_factory=list)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Listen for what is exported, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_packed = self.headers.get("Content-Encoding") == "gzip"
            collector.posted.append((self.path, gzip.decompress(body) if is_packed else body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield collector
        server.shutdown()
        thread.join(10)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def traced(
    exporter: InMemorySpanExporter, make_artifact: MakeArtifact
) -> AsyncIterator[Service]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(
        Settings(artifact=make_artifact(), intra_op_threads=1, concurrent_runs=1), Tracing(provider)
    )
    async with serving(app) as service:
        yield service


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_a_request_is_a_span_that_continues_the_clients_trace(
    traced: Service, exporter: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}

    await traced.client.post("/predict", content=WHITE, headers=headers)

    span = by_name(exporter)["POST /predict"]
    assert span.kind is SpanKind.SERVER
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["http.route"] == "/predict"
    assert span.attributes["resnet.model.name"] == "tiny"
    assert span.attributes["resnet.images"] == 1


@pytest.mark.parametrize("count", [1, 3])
async def test_its_stages_are_spans_within_it_one_after_the_other(
    count: int, traced: Service, exporter: InMemorySpanExporter
) -> None:
    await traced.client.post("/predict", files=[("file", BLACK)] * count)

    found = by_name(exporter)
    whole = found.pop("POST /predict")
    assert sorted(found) == sorted(STAGES)
    assert whole.context is not None
    assert whole.start_time is not None
    assert whole.end_time is not None
    last = whole.start_time
    for stage in STAGES:
        span = found[stage]
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert last - 1e6 <= span.start_time <= span.end_time <= whole.end_time + 1e6
        last = span.start_time
    assert found["infer"].attributes == {"resnet.batch_size": count}


async def test_a_refused_request_is_a_span_without_stages(
    traced: Service, exporter: InMemorySpanExporter
) -> None:
    await traced.client.post("/predict", content=b"nothing of the kind")

    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 422


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_what_machines_ask_is_not_traced(
    path: str, traced: Service, exporter: InMemorySpanExporter
) -> None:
    await traced.client.get(path)

    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"},
    ],
)
def test_nothing_is_traced_unless_it_is_asked_for(environment: dict[str, str]) -> None:
    assert start_tracing(environment) is None


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "resnet-service"),
        ({"OTEL_SERVICE_NAME": "shoes"}, "shoes"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=boots"}, "boots"),
    ],
)
def test_an_exporter_by_name_turns_tracing_on(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)

    tracing = start_tracing({"OTEL_TRACES_EXPORTER": "console", **environment})

    assert tracing is not None
    assert isinstance(tracing.provider, TracerProvider)
    assert tracing.provider.resource.attributes["service.name"] == name
    tracing.stop()


async def test_spans_reach_a_collector_over_http(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        tracing = start_tracing()
        settings = Settings(artifact=make_artifact(), intra_op_threads=1, concurrent_runs=1)
        async with serving(create_app(settings, tracing)) as service:
            await service.client.post("/predict", content=WHITE)
        # Stopping the service sends its last spans.

    (path, body), *more = collector.posted
    assert (path, more) == ("/v1/traces", [])
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    named = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert named["service.name"] == "resnet-service"
    spans = [span for scope in resource.scope_spans for span in scope.spans]
    whole = next(span for span in spans if span.name == "POST /predict")
    stages = {span.name for span in spans if span.parent_span_id == whole.span_id}
    assert stages == set(STAGES)


def test_an_exporter_that_is_not_ours_is_refused_in_one_line() -> None:
    with pytest.raises(StartError, match="OTEL_TRACES_EXPORTER"):
        start_tracing({"OTEL_TRACES_EXPORTER": "zipkin"})


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_the_sdk(name: str, *given: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry.sdk"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without_the_sdk)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.sdk")]:
        monkeypatch.delitem(sys.modules, name)

    with pytest.raises(StartError, match="extra `tracing`"):
        start_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})


async def test_a_trace_that_the_client_does_not_sample_costs_no_spans(
    traced: Service, exporter: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-00"}

    response = await traced.client.post("/predict", content=WHITE, headers=headers)

    assert response.status_code == 200
    assert exporter.get_finished_spans() == ()
