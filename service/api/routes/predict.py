"""`POST /predict`: images in, labels and probabilities out."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from model.artifact.prediction_sets import HIGHEST_COVERAGE, LOWEST_COVERAGE
from model.validation import first_fault
from service.api.body import read_body
from service.api.budget import Upload
from service.api.direct import DirectRoute, JsonResponse
from service.api.media_types import (
    ACCEPTED,
    JSON,
    MULTIPART,
    RAW_TYPES,
    body_kind,
    check_not_text,
)
from service.api.model_routes import model_route
from service.api.payloads import Payloads, read_payloads
from service.api.record import RECORD, RequestRecord
from service.api.schemas import JsonImages, PredictResponse
from service.api.shedding import TIMEOUT, TIMEOUT_HEADER
from service.api.state import SERVICE, ServiceState
from service.cancellation import DISCONNECT, Disconnect
from service.errors import InvalidParameterError
from service.postprocessing.trust import DEFAULT, PredictOptions
from service.registry.outcome import Outcome
from service.settings import Settings

router = APIRouter(route_class=DirectRoute)

INLINE_BODY_BYTES = 32_768
"""A body up to this size is parsed on the event loop: passing it to a thread costs more."""


class PredictQuery(BaseModel):
    """Query parameters; a form may have them as fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_k: int = Field(5, ge=1, le=1000, description="Number of labels for each image.")
    coverage: float | None = Field(
        None,
        ge=LOWEST_COVERAGE,
        le=HIGHEST_COVERAGE,
        description="Add a set of labels that contains the true label this often.",
    )
    per_label: bool = Field(
        False, description="With `coverage`: this often for each label, not only on average."
    )
    explain: Literal["false", "true", "png"] = Field(
        "false",
        description="Add the class activation maps; `png` also adds an image to lay over yours.",
    )
    features: bool = Field(False, description="Add the embedding before the head.")

    def options(self) -> PredictOptions:
        """Return the options for the pipeline."""
        return PredictOptions(
            top_k=self.top_k,
            coverage=self.coverage,
            per_label=self.per_label,
            explain=self.explain != "false",
            draw=self.explain == "png",
            features=self.features,
        )


class PredictHeaders(BaseModel):
    """Request headers."""

    timeout_ms: int = Field(
        ge=1,
        le=86_400_000,
        description="Deadline of this request; the service's own is the upper limit.",
    )


NO_QUERY = PredictQuery()
_BINARY = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"file": {"type": "array", "items": _BINARY, "minItems": 1}},
    "required": ["file"],
}
"""Without the options, which Swagger UI would send both here and in the query."""
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        **{name: {"schema": _BINARY} for name in RAW_TYPES},
        MULTIPART: {"schema": _FORM, "encoding": {"file": {"contentType": ", ".join(RAW_TYPES)}}},
        JSON: {"schema": JsonImages.model_json_schema()},
    },
}


def _parameters() -> list[dict[str, Any]]:
    """Describe query and headers for OpenAPI."""
    places: dict[str, type[BaseModel]] = {"query": PredictQuery, "header": PredictHeaders}
    return [
        {
            "in": place,
            "name": TIMEOUT_HEADER if place == "header" else name,
            "required": False,
            "description": schema.pop("description", ""),
            "schema": schema,
        }
        for place, model in places.items()
        for name, schema in model.model_json_schema()["properties"].items()
    ]


@model_route(
    router,
    "POST",
    "/predict",
    summary="Classify images",
    description="The body is one image, a form with one or more parts named `file`, or JSON with "
    f"base64. Content types: {', '.join(f'`{name}`' for name in ACCEPTED)}, and other "
    "names for images. Text fields of a form may be options, as in the query.",
    response_model=PredictResponse,
    statuses=(400, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra={"requestBody": _BODY, "parameters": _parameters()},
)
async def predict(request: Request) -> JsonResponse:
    """Read the body, classify its images, and report the time of each stage.

    Raises:
        ServiceError: The first refusal; see `service.errors`.
    """
    scope = request.scope
    service: ServiceState = scope[SERVICE]
    record: RequestRecord = scope[RECORD]
    limits, headers = service.settings, record.headers
    content_type = headers.get(b"content-type", b"").decode("latin-1") or None
    kind = body_kind(content_type)
    name, version = request.path_params.get("name"), request.path_params.get("version")
    if name is not None:  # an unknown model is rejected before the body is read
        service.models.find(name, version)
    query = _read_query(request) if scope["query_string"] else NO_QUERY
    timeout_s = limits.deadline_s
    if TIMEOUT in headers:
        timeout_s = min(timeout_s, read_timeout_s(headers[TIMEOUT]))
    disconnect = scope[DISCONNECT] = Disconnect()
    with Upload(service.budget, scope.get("client")) as upload:
        body, received = await read_body(request, record, limits, upload)
        if kind == "raw":
            check_not_text(body, content_type)
            images = [body]
        else:
            images, fields = await _unpack(body, content_type, limits)
            upload.charge(sum(map(len, images)) - len(body))
            query = with_fields(query, fields)
        del body  # the images are copies
        classifier = service.models.find(name, version)  # a reload may have replaced it meanwhile
        options = DEFAULT if query is NO_QUERY else query.options()
        if record.usage is not None:
            record.begin_images(len(images))
        outcome = await classifier.predict(images, received + timeout_s, disconnect, options)
    del images
    results = classifier.default_results(outcome) if options is DEFAULT else None
    if results is None:
        others = await classifier.results(outcome, options)
        results = to_json(others, exclude_none=True)[1:-1]
    service.telemetry.record_request(outcome, classifier)
    record.answered(classifier.info, outcome)
    body = b'{"model":%b,"results":[%b]}' % (classifier.info_json, results)
    return JsonResponse(body, server_timing(outcome))


async def _unpack(body: bytes, content_type: str | None, limits: Settings) -> Payloads:
    """Extract the image files from a form or from JSON."""
    given = body, content_type, limits.max_images, PredictQuery.model_fields
    if len(body) <= INLINE_BODY_BYTES:
        return read_payloads(*given)
    # parsing a large form or base64 would block the event loop
    return await asyncio.to_thread(read_payloads, *given)


def _read_query(request: Request) -> PredictQuery:
    given = request.query_params.multi_items()
    if len({name for name, _ in given}) < len(given):
        raise InvalidParameterError("A query parameter appears more than once. Send each once.")
    try:
        return PredictQuery.model_validate(dict(given))
    except ValidationError as error:
        raise _invalid("query", error) from error


def with_fields(query: PredictQuery, fields: Mapping[str, str]) -> PredictQuery:
    """Add a form's options to those of the query.

    Raises:
        InvalidParameterError: If one is out of bounds, or differs from the query.
    """
    if not fields:
        return query
    try:
        given = PredictQuery.model_validate(fields)
    except ValidationError as error:
        raise _invalid("form", error) from error
    wanted = {name: getattr(given, name) for name in fields}
    for name in query.model_fields_set & set(wanted):
        if getattr(query, name) != wanted[name]:
            raise InvalidParameterError(
                f"form.{name}: the query has another value for it. Send it once."
            )
    return query.model_copy(update=wanted)


def read_timeout_s(header: bytes) -> float:
    """Read the client's time limit, in seconds.

    Raises:
        InvalidParameterError: If the header is not a number of milliseconds.
    """
    try:
        given = PredictHeaders.model_validate({"timeout_ms": header.decode("latin-1")})
    except ValidationError as error:
        raise _invalid("header", error) from error
    return given.timeout_ms / 1000


def _invalid(place: str, error: ValidationError) -> InvalidParameterError:
    where, _, rule = first_fault(error)
    return InvalidParameterError(f"{place}.{where[:100]}: {rule}. See /docs for the bounds.")


def server_timing(outcome: Outcome) -> str:
    """Write the stages in milliseconds, and the batch size, as a Server-Timing header."""
    decode, preprocess, queue, infer = outcome.timings
    return (
        f"decode;dur={1000 * decode:.3f}, preprocess;dur={1000 * preprocess:.3f}, "
        f"queue;dur={1000 * queue:.3f}, infer;dur={1000 * infer:.3f}, "
        f'batch;desc="{outcome.batch_size}"'
    )
