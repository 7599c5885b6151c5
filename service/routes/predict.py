"""`POST /predict`: pictures in, labels and probabilities out."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from model.prediction_sets import HIGHEST_COVERAGE, LOWEST_COVERAGE
from service.answer import Wish
from service.body import ACCEPTED, JSON, MULTIPART, RAW_TYPES, media_type, payloads, receive
from service.classifier import Classified, Classifier
from service.routes.problems import problems
from service.schemas import JsonImages, PredictResponse
from service.telemetry import STAGES

router = APIRouter()

_BINARY = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"file": {"type": "array", "items": _BINARY}},
    "required": ["file"],
}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        **{name: {"schema": _BINARY} for name in RAW_TYPES},
        MULTIPART: {"schema": _FORM},
        JSON: {"schema": JsonImages.model_json_schema()},
    },
}


class PredictQuery(BaseModel):
    """What may stand behind the question mark."""

    model_config = ConfigDict(extra="forbid")

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


@router.post(
    "/predict",
    summary="Classify images",
    description=f"The body is one image, a form with one or more parts named `file`, or JSON with "
    f"base64. Content types: {', '.join(f'`{name}`' for name in ACCEPTED)}.",
    response_model=PredictResponse,
    responses=problems(400, 408, 413, 415, 422, 500, 503, 504),
    openapi_extra={"requestBody": _BODY},
)
async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
    """Read the body, classify its pictures, and say where the time went."""
    classifier: Classifier = request.app.state.classifier
    settings = classifier.settings
    content_type = request.headers.get("content-type")
    is_raw = media_type(content_type) in RAW_TYPES
    body = await receive(
        request.stream(), request.headers.get("content-length"), settings.max_body_bytes
    )
    if is_raw:
        images = [body]
    else:  # parsing a large form or base64 would hold up the event loop
        images = await asyncio.to_thread(payloads, body, content_type, settings.max_images)
    classified = await classifier.classify(images, query.top_k, query.wish())
    request.app.state.telemetry.answered(classified)
    answer = PredictResponse(model=classifier.info, results=classified.results)
    return Response(
        answer.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers={"Server-Timing": server_timing(classified)},
    )


def server_timing(classified: Classified) -> str:
    """Write the stages in milliseconds, and the batch size, as a Server-Timing header."""
    timings = classified.timings
    stages = [f"{stage};dur={1000 * getattr(timings, stage):.3f}" for stage in STAGES]
    return ", ".join([*stages, f'batch;desc="{classified.batch_size}"'])
