"""`POST /predict`: pictures in, labels and probabilities out."""

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from model.artifact.prediction_sets import HIGHEST_COVERAGE, LOWEST_COVERAGE
from model.validation import first_fault
from service.api.body import receive
from service.api.compression import read_codings, unpack
from service.api.direct import LeanRoute
from service.api.media_types import ACCEPTED, JSON, MULTIPART, RAW_TYPES, body_kind
from service.api.payloads import Payloads, raw_payload, read_payloads
from service.api.problems import problems
from service.api.schemas import JsonImages, PredictResponse
from service.cancellation import DISCONNECT, Disconnect
from service.errors import InvalidParameterError
from service.observability.metrics import STAGES
from service.postprocessing.trust import Wish
from service.registry.outcome import Answered
from service.registry.registry import Models
from service.settings import Settings

router = APIRouter(route_class=LeanRoute)

TIMEOUT_HEADER = "x-request-timeout-ms"
SMALL_BYTES = 32_768
"""A body up to this size is parsed on the event loop: passing it to a thread costs more."""


class PredictQuery(BaseModel):
    """What may stand behind the question mark, or in a header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_k: int = Field(5, ge=1, le=1000, description="Labels wanted for each image.")
    coverage: float | None = Field(
        None,
        ge=LOWEST_COVERAGE,
        le=HIGHEST_COVERAGE,
        description="Ask for the smallest set of labels that holds the truth this often.",
    )
    explain: Literal["false", "true", "png"] = Field(
        "false", description="Ask where the top label was seen; `png` adds a layer to look at."
    )
    features: bool = Field(False, description="Ask for the embedding before the head.")

    def wish(self) -> Wish:
        """Say what is wanted beyond labels."""
        return Wish(self.coverage, self.explain != "false", self.explain == "png", self.features)


class PredictHeaders(BaseModel):
    """What a request may say of itself."""

    timeout_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = Field(
        None, description="Deadline of this request; the service's own is the upper limit."
    )


NO_QUERY, NO_HEADERS = PredictQuery(), PredictHeaders()
_BINARY = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"file": {"type": "array", "items": _BINARY}},
    "required": ["file"],
}
"""Without the options, which Swagger UI would send here and in the query."""
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        **{name: {"schema": _BINARY} for name in RAW_TYPES},
        MULTIPART: {"schema": _FORM},
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


@router.post(
    "/predict",
    summary="Classify images",
    description=f"The body is one image, a form with one or more parts named `file`, or JSON with "
    f"base64. Content types: {', '.join(f'`{name}`' for name in ACCEPTED)}; other names of images "
    "are taken, too. A form's text fields may be options, as in the query.",
    response_model=PredictResponse,
    responses=problems(400, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra={"requestBody": _BODY, "parameters": _parameters()},
)
async def predict(request: Request) -> Response:
    """Classify with the default model."""
    return await answer(request, None)


@router.post(
    "/models/{name}/predict",
    summary="Classify images with a model of your choice",
    description="As `POST /predict`, which is the default model's.",
    response_model=PredictResponse,
    responses=problems(400, 404, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra={
        "requestBody": _BODY,
        "parameters": [
            {"in": "path", "name": "name", "required": True, "schema": {"type": "string"}},
            *_parameters(),
        ],
    },
)
async def predict_with(request: Request) -> Response:
    """The same, for the model that the path names."""
    return await answer(request, request.path_params["name"])


async def answer(request: Request, name: str | None) -> Response:
    """Read the body, classify its pictures, and say where the time went.

    Args:
        request: Any of this room's routes.
        name: Of the model; the default one if None.

    Raises:
        ServiceError: The first refusal; see `service.errors`.
    """
    models: Models = request.app.state.models
    classifier = models.find(name)
    limits = classifier.settings
    headers = request.headers
    content_type, declared_length = headers.get("content-type"), headers.get("content-length")
    is_packed, kind = "content-encoding" in headers, body_kind(content_type)
    codings = read_codings(headers.getlist("content-encoding")) if is_packed else ()
    query, patience_s = _read_query(request), read_patience_s(request)
    classifier.check_admission(declared_length, patience_s)
    disconnect = request.scope[DISCONNECT] = Disconnect()
    with request.app.state.intake.hold(request.scope.get("client")) as take:
        body = await receive(
            request.receive, declared_length, limits.max_body_bytes, limits.body_timeout_s, take
        )
        received = time.perf_counter()
        if codings:
            body = await unpack(body, codings, limits.max_body_bytes, take)
        if kind == "raw":
            sent = raw_payload(body, content_type)
        else:
            sent = await _unpack(body, content_type, limits)
            take(sum(map(len, sent.images)) - len(body))
            query = with_fields(query, sent.fields)
        del body  # its images are copies
        classifier = models.find(name)  # it may have been replaced while the body came in
        wish = query.wish()
        answered = await classifier.answer(sent.images, patience_s, disconnect, wish, received)
    del sent
    results = await classifier.results(answered, query.top_k, wish)
    request.app.state.telemetry.answered(answered, classifier)
    return Response(
        to_json({"model": classifier.info, "results": results}, exclude_none=True),
        media_type="application/json",
        headers={"Server-Timing": server_timing(answered)},
    )


async def _unpack(body: bytes, content_type: str | None, limits: Settings) -> Payloads:
    """Take the image files out of a form or of JSON."""
    given = body, content_type, limits.max_images, PredictQuery.model_fields
    if len(body) <= SMALL_BYTES:
        return read_payloads(*given)
    # parsing a large form or base64 would hold up the event loop
    return await asyncio.to_thread(read_payloads, *given)


def _read_query(request: Request) -> PredictQuery:
    if not request.scope["query_string"]:
        return NO_QUERY
    given = request.query_params.multi_items()
    if len({name for name, _ in given}) < len(given):
        raise InvalidParameterError("A query parameter is given more than once. Give each once.")
    try:
        return PredictQuery.model_validate(dict(given))
    except ValidationError as error:
        raise _invalid("query", error) from error


def with_fields(query: PredictQuery, fields: Mapping[str, str]) -> PredictQuery:
    """Add a form's options to those of the query.

    Raises:
        InvalidParameterError: If one is out of its bounds, or the query says otherwise.
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
                f"form.{name}: the query has another value for it. Give it once."
            )
    return query.model_copy(update=wanted)


def read_patience_s(request: Request) -> float | None:
    """Read the client's deadline in seconds; None if it has none.

    Raises:
        InvalidParameterError: If the header is no number of milliseconds.
    """
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        headers = PredictHeaders.model_validate({"timeout_ms": text})
    except ValidationError as error:
        raise _invalid("header", error) from error
    return None if headers.timeout_ms is None else headers.timeout_ms / 1000


def _invalid(place: str, error: ValidationError) -> InvalidParameterError:
    where, _, rule = first_fault(error)
    return InvalidParameterError(f"{place}.{where[:100]}: {rule}. See /docs for the bounds.")


def server_timing(answered: Answered) -> str:
    """Write the stages in milliseconds, and the batch size, as a Server-Timing header."""
    timings = answered.timings
    stages = [f"{stage};dur={1000 * getattr(timings, stage):.3f}" for stage in STAGES]
    return ", ".join([*stages, f'batch;desc="{answered.batch_size}"'])
