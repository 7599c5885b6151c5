"""`/v2`: the Open Inference Protocol V2 over REST; its metadata, health and inference.

Clients of this protocol send no content type or a wrong one, so bodies are read as they
are. What Triton adds to the protocol is in `service.api.v2.repository`.
"""

import asyncio
import time
from importlib.metadata import version

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from service.api.body import read_body
from service.api.budget import Upload
from service.api.compression import choose_encoding, compress
from service.api.direct import DirectRoute
from service.api.problems import errors_v2
from service.api.record import record_of
from service.api.routes.health import livez, readyz
from service.api.routes.predict import read_timeout_s, server_timing
from service.api.shedding import TIMEOUT
from service.api.state import service_of
from service.api.v2.codec import InferCall, read_request
from service.api.v2.names import ModelAlias, all_aliases, versions
from service.api.v2.outputs import EncodedResponse, write_response
from service.api.v2.routing import TAG, json_response, model_route, requested_alias
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
from service.registry.outcome import Outcome

NAME = "resnet-service"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
)
JSON_BYTES_HEADER = "Inference-Header-Content-Length"
_JSON_BYTES = JSON_BYTES_HEADER.lower().encode()
INLINE_BODY_BYTES = 32_768
"""A body up to this size is parsed on the event loop: passing it to a thread costs more."""
INLINE_NUMBERS = 4096
"""A response with up to so many numbers is written there, for the same reason."""

router = APIRouter(prefix="/v2", route_class=DirectRoute, tags=[TAG])


@router.get("", summary="Name, version, extensions", response_model=ServerMetadata)
async def server_metadata(request: Request) -> Response:  # noqa: ARG001  # a route gets it
    """Give the server's name, version and extensions."""
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
    """List each name once."""
    names = dict.fromkeys(alias.name for alias in all_aliases(service_of(request).models))
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
    """Ready if the model is served and the service is ready."""
    alias = requested_alias(request)
    await readyz(request)
    return json_response(ModelReady(name=alias.name))


@model_route(router, "GET", "", summary="Inputs and outputs of a model", answer=ModelMetadata)
async def model_metadata(request: Request) -> Response:
    """Inputs and outputs with their shapes."""
    alias = requested_alias(request)
    return json_response(
        ModelMetadata(
            name=alias.name,
            versions=versions(service_of(request).models, alias.name),
            inputs=[_describe(alias.signature.input)],
            outputs=[_describe(output) for output in alias.signature.outputs],
        )
    )


def _describe(tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape))


@model_route(
    router,
    "POST",
    "/infer",
    summary="Classify tensors or images",
    answer=InferResponse,
    statuses=(400, 404, 408, 413, 415, 422, 500, 501, 503, 504),
    body=InferRequest,
)
async def infer(request: Request) -> Response:
    """Answer an inference request. Any other outcome is counted as a failure."""
    alias = requested_alias(request)
    began = time.perf_counter()
    try:
        return await _infer(request, alias)
    except Exception:  # also an unexpected one, which the middleware answers
        statistics = service_of(request).telemetry.statistics[alias.classifier]
        statistics.record_failure(time.perf_counter() - began)
        raise


async def _infer(request: Request, alias: ModelAlias) -> Response:
    """Read, classify, write: the same limits and counters as `POST /predict`."""
    scope, service = request.scope, service_of(request)
    limits, record = service.settings, record_of(scope)
    headers = record.headers
    timeout_s = limits.deadline_s
    if TIMEOUT in headers:
        timeout_s = min(timeout_s, read_timeout_s(headers[TIMEOUT]))
    disconnect = scope[DISCONNECT] = Disconnect()
    json_bytes = _json_bytes(headers.get(_JSON_BYTES))
    with Upload(service.budget, scope.get("client")) as upload:
        try:
            body, received = await read_body(request, record, limits, upload)
        except BodyTooLargeError:  # most often a tensor that does not fit the model
            raise BodyTooLargeError(limits.max_body_bytes, alias.signature.expects()) from None
        is_small, read_by = len(body) <= INLINE_BODY_BYTES, None
        while read_by != (alias := requested_alias(request)).signature:  # replaced meanwhile?
            read_by = alias.signature
            if is_small:
                call = read_request(body, json_bytes, read_by)
            else:
                call = await asyncio.to_thread(read_request, body, json_bytes, read_by)
        read_s = time.perf_counter() - received
        del body  # what was read of it is in `call`
        deadline = received + min(timeout_s, call.timeout_s or timeout_s)
        record.begin_images(len(call.images))
        outcome = await classify(alias, call, deadline, disconnect)
    return await _respond(request, alias, call, with_reading(outcome, read_s))


async def classify(
    alias: ModelAlias, call: InferCall, deadline: float, disconnect: Disconnect
) -> Outcome:
    """Classify the images of a request, whether they are files or the network's input.

    Raises:
        ServiceError: The first refusal; see `service.errors`.
    """
    if isinstance(call.images, list):
        return await alias.classifier.predict(call.images, deadline, disconnect)
    images = list(call.images)  # (N, S, S, C) -> N times (S, S, C)
    return await alias.classifier.predict_tensors(images, deadline, disconnect)


def with_reading(outcome: Outcome, read_s: float) -> Outcome:
    """Add the time in which the request was read to that of decoding."""
    timings = outcome.timings._replace(decode=outcome.timings.decode + read_s)
    return outcome._replace(timings=timings)


def _json_bytes(header: bytes | None) -> int | None:
    """Read how many bytes of the body are JSON; None if all."""
    if header is None:
        return None
    if not (header.isdigit() and len(header) <= 15):
        shown = header[:40].decode("latin-1")
        raise MalformedRequestError(
            f"{JSON_BYTES_HEADER} is {shown!r}; it must be a number of bytes."
        )
    return int(header)


async def _respond(
    request: Request, alias: ModelAlias, call: InferCall, outcome: Outcome
) -> Response:
    """Write the response, compressed if the client accepts that, and count the request."""
    accepted = request.headers.get("accept-encoding")

    def write() -> tuple[EncodedResponse, str | None, float]:
        began = time.perf_counter()
        response = _write(alias, call, outcome)
        encoding = choose_encoding(accepted, len(response.body))
        if encoding is not None:
            response = response._replace(body=compress(response.body, encoding))
        return response, encoding, time.perf_counter() - began

    numbers = len(outcome.outputs) * len(alias.classifier.manifest.labels)
    is_small = numbers <= INLINE_NUMBERS
    response, encoding, write_s = write() if is_small else await asyncio.to_thread(write)
    outcome.check_deadline("the answer was written. Allow more time, or ask for fewer outputs.")
    service_of(request).telemetry.record_request(outcome, alias.classifier, write_s)
    record_of(request.scope).answered(alias.classifier.info, outcome)
    headers = {"Server-Timing": server_timing(outcome), "Vary": "Accept-Encoding"}
    if response.json_bytes is not None:
        headers[JSON_BYTES_HEADER] = str(response.json_bytes)
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    is_json = response.json_bytes is None
    media_type = "application/json" if is_json else "application/octet-stream"
    return Response(response.body, media_type=media_type, headers=headers)


def _write(alias: ModelAlias, call: InferCall, outcome: Outcome) -> EncodedResponse:
    labels, model = alias.classifier.manifest.labels, (alias.name, alias.version)
    return write_response(call, model, ran_by(alias), rows_of(outcome), labels)


def ran_by(alias: ModelAlias) -> Ran:
    """Say what computes a model's answers."""
    info = alias.classifier.info
    return Ran(provider=info.provider, precision=info.precision)


def rows_of(outcome: Outcome) -> dict[str, NDArray[np.float32]]:
    """Stack the outputs of a request's images: float32 (N, K) each."""
    return {
        name: np.stack([getattr(output, name) for output in outcome.outputs])
        for name in ("logits", "probabilities")
    }
