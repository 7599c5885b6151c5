"""`/v2`: the Open Inference Protocol V2 over REST; its metadata, health and inference.

Clients of this protocol send no content type or a wrong one, so bodies are read as they
are. What Triton adds to the protocol stands in `service.api.v2.repository`.
"""

import asyncio
import time
from dataclasses import replace
from importlib.metadata import version

import numpy as np
from fastapi import APIRouter, Request, Response

from service.api.body import receive
from service.api.compression import choose, compress, read_codings, unpack
from service.api.direct import LeanRoute
from service.api.problems import errors_v2
from service.api.routes.health import livez, readyz
from service.api.routes.predict import read_patience_s, server_timing
from service.api.v2.codec import Answer, Asked, read_request, write_response
from service.api.v2.names import View, all_views, versions
from service.api.v2.routing import TAG, json_response, model_route, view_of
from service.api.v2.schemas import (
    InferRequest,
    InferResponse,
    Live,
    ModelMetadata,
    ModelNames,
    ModelReady,
    Ran,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from service.api.v2.tensors import Tensor
from service.cancellation import DISCONNECT, Disconnect
from service.errors import BodyTooLargeError, MalformedRequestError
from service.registry.outcome import Answered

NAME = "resnet-service"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
)
JSON_BYTES_HEADER = "Inference-Header-Content-Length"
SMALL_BYTES = 32_768
"""A body up to this size is read on the event loop: passing it to a thread costs more."""
SMALL_ROWS = 4096
"""Likewise for an answer of so many numbers."""

router = APIRouter(prefix="/v2", route_class=LeanRoute, tags=[TAG])


@router.get("", summary="Name, version, extensions", response_model=ServerMetadata)
async def server_metadata(request: Request) -> Response:  # noqa: ARG001  # a route gets it
    """Say who answers."""
    return json_response(
        ServerMetadata(name=NAME, version=version(NAME), extensions=list(EXTENSIONS))
    )


@router.get(
    "/health/live",
    summary="Is the process alive?",
    response_model=Live,
    responses=errors_v2(503),
)
async def live(request: Request) -> Response:
    """As `GET /livez`."""
    await livez(request)
    return json_response(Live())


@router.get(
    "/health/ready",
    summary="May requests be sent here?",
    response_model=Ready,
    responses=errors_v2(503),
)
async def ready(request: Request) -> Response:
    """As `GET /readyz`."""
    await readyz(request)
    return json_response(Ready())


@router.get("/models", summary="Names of all models", response_model=ModelNames)
async def model_names(request: Request) -> Response:
    """List every name once."""
    names = dict.fromkeys(view.name for view in all_views(request.app.state.models))
    return json_response(ModelNames(models=list(names)))


@model_route(
    router,
    "GET",
    "/ready",
    summary="May requests be sent to the model?",
    answer=ModelReady,
    statuses=(404, 503),
)
async def model_ready(request: Request) -> Response:
    """Ready if it is served, and the service is ready."""
    view = view_of(request)
    await readyz(request)
    return json_response(ModelReady(name=view.name))


@model_route(router, "GET", "", summary="What a model takes and gives", answer=ModelMetadata)
async def model_metadata(request: Request) -> Response:
    """Inputs and outputs with their shapes."""
    view = view_of(request)
    return json_response(
        ModelMetadata(
            name=view.name,
            versions=versions(request.app.state.models, view.name),
            inputs=[_describe(view.border.input)],
            outputs=[_describe(output) for output in view.border.outputs],
        )
    )


def _describe(tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape))


@model_route(
    router,
    "POST",
    "/infer",
    summary="Classify tensors or pictures",
    answer=InferResponse,
    statuses=(400, 404, 408, 413, 415, 422, 500, 501, 503, 504),
    body=InferRequest,
)
async def infer(request: Request) -> Response:
    """Answer an inference request; any other outcome is counted among the failures."""
    view = view_of(request)
    began = time.perf_counter()
    try:
        return await _infer(request, view)
    except Exception:  # an unforeseen one, too; the outer door answers it
        statistics = request.app.state.telemetry.statistics[view.classifier]
        statistics.failed(time.perf_counter() - began)
        raise


async def _infer(request: Request, view: View) -> Response:
    """Read, classify, write: the same limits and counters as `POST /predict`."""
    classifier, headers = view.classifier, request.headers
    patience_s, declared_length = read_patience_s(request), headers.get("content-length")
    takes_files = view.border.input.datatype == "BYTES"
    classifier.check_admission(declared_length, patience_s, takes_files=takes_files)
    disconnect = request.scope[DISCONNECT] = Disconnect()
    json_bytes = _json_bytes(headers.get(JSON_BYTES_HEADER))
    codings = read_codings(headers.getlist("content-encoding"))
    limit = classifier.settings.max_body_bytes
    with request.app.state.intake.hold(request.scope.get("client")) as take:
        timeout_s = classifier.settings.body_timeout_s
        try:
            body = await receive(request.receive, declared_length, limit, timeout_s, take)
        except BodyTooLargeError:  # most often a tensor that the model does not take
            raise BodyTooLargeError(limit, view.border.expects()) from None
        received = time.perf_counter()
        body = await unpack(body, codings, limit, take)
        is_small, read_by = len(body) <= SMALL_BYTES, None
        while read_by != (view := view_of(request)).border:  # it may be replaced meanwhile
            read_by = view.border
            if is_small:
                asked = read_request(body, json_bytes, read_by)
            else:
                asked = await asyncio.to_thread(read_request, body, json_bytes, read_by)
        read_s = time.perf_counter() - received
        del body  # what was read of it is in `asked`
        classifier = view.classifier
        waits_s = min((s for s in (asked.timeout_s, patience_s) if s is not None), default=None)
        if isinstance(asked.images, list):
            answered = await classifier.answer(asked.images, waits_s, disconnect, received=received)
        else:
            images = list(asked.images)  # (N, S, S, C) -> N times (S, S, C)
            answered = await classifier.answer_tensors(images, waits_s, disconnect, received)
    timings = replace(answered.timings, decode=answered.timings.decode + read_s)
    return await _respond(request, view, asked, answered._replace(timings=timings))


def _json_bytes(header: str | None) -> int | None:
    """Read how many bytes of the body are JSON; None if all."""
    if header is None:
        return None
    if not (header.isascii() and header.isdecimal() and len(header) <= 15):
        raise MalformedRequestError(
            f"{JSON_BYTES_HEADER} is {header[:40]!r}; it must be a number of bytes."
        )
    return int(header)


async def _respond(request: Request, view: View, asked: Asked, answered: Answered) -> Response:
    """Write the answer, compressed where the client takes that, and count the request."""
    accepted = request.headers.get("accept-encoding")

    def write() -> tuple[Answer, str | None, float]:
        began = time.perf_counter()
        answer = _write(view, asked, answered)
        encoding = choose(accepted, len(answer.body))
        if encoding is not None:
            answer = answer._replace(body=compress(answer.body, encoding))
        return answer, encoding, time.perf_counter() - began

    numbers = len(answered.rides) * len(view.classifier.manifest.labels)
    is_small = numbers <= SMALL_ROWS
    answer, encoding, write_s = write() if is_small else await asyncio.to_thread(write)
    answered.refuse_late("the answer was written. Allow more time, or ask for fewer outputs.")
    request.app.state.telemetry.answered(answered, view.classifier, write_s)
    headers = {"Server-Timing": server_timing(answered), "Vary": "Accept-Encoding"}
    if answer.json_bytes is not None:
        headers[JSON_BYTES_HEADER] = str(answer.json_bytes)
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    is_json = answer.json_bytes is None
    media_type = "application/json" if is_json else "application/octet-stream"
    return Response(answer.body, media_type=media_type, headers=headers)


def _write(view: View, asked: Asked, answered: Answered) -> Answer:
    rides = answered.rides
    rows = {
        "logits": np.stack([ride.logits for ride in rides]),  # (N, K)
        "probabilities": np.stack([ride.probabilities for ride in rides]),
    }
    info, labels = view.classifier.info, view.classifier.manifest.labels
    ran = Ran(provider=info.provider, precision=info.precision)
    return write_response(asked, (view.name, view.version), ran, rows, labels)
