"""`GET /card`, `/card.md`, `/samples/{index}.png`: the manifest, for people.

The same below `/models/{name}` for a model that the path names.
The page builds its third view and its row of samples from these. Each request reads the manifest of
the model that is served at that time.
"""

import hashlib
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response

from model.artifact.card import card
from service.api.model_routes import model_route
from service.api.record import record_of
from service.api.routes.predict import PredictQuery
from service.api.samples import sample_png
from service.api.schemas import CardResponse, Limits, Sample
from service.api.state import classifier_of
from service.errors import NotFoundError

MARKDOWN = "text/markdown"
TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {MARKDOWN: {"schema": {"type": "string"}}}}
}
PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}},
    304: {"description": "Not Modified: the client already has this image"},
}

router = APIRouter()


@model_route(router, "GET", "/card", summary="The model card: intended use, figures and data")
async def model_card(request: Request) -> CardResponse:
    """Return the manifest, without layers and golden probabilities, and the request's options."""
    classifier = classifier_of(request)
    manifest, settings = classifier.manifest, classifier.settings
    prefix = quote(record_of(request.scope).path.strip("/").removesuffix("card"))
    return CardResponse(
        model=classifier.info,
        manifest=manifest.model_dump(mode="json", exclude={"golden", "summary"}),
        samples=[
            Sample(path=f"{prefix}samples/{index}.png", label=manifest.labels[golden.top1])
            for index, golden in enumerate(manifest.golden)
            if manifest.metrics is None or not golden.generated
        ],
        are_samples_pictures=manifest.metrics is not None,
        options=list(PredictQuery.model_fields),
        routes=sorted(request.app.openapi()["paths"]),
        limits=Limits(
            max_body_bytes=settings.max_body_bytes,
            max_pixels=settings.max_pixels,
            deadline_ms=round(1000 * settings.deadline_s),
        ),
    )


@model_route(
    router,
    "GET",
    "/card.md",
    summary="The model card as a README in Hugging Face's format",
    responses=TEXT,
    response_class=Response,
)
async def model_card_markdown(request: Request) -> Response:
    """Return the card as in the artifact's README.md."""
    classifier = classifier_of(request)
    return Response(
        card(classifier.manifest),
        media_type=MARKDOWN,
        headers={"Content-Disposition": 'inline; filename="README.md"'},
    )


@model_route(
    router,
    "GET",
    "/samples/{index}.png",
    summary="A sample image whose answer is known",
    statuses=(400, 404),
    responses=PNG,
    response_class=Response,
)
async def sample(request: Request, index: Annotated[int, Path(ge=0)]) -> Response:
    """Return a golden image, with the margin that preprocessing crops."""
    classifier = classifier_of(request)
    golden, spec = classifier.manifest.golden, classifier.manifest.preprocessing
    if index >= len(golden):
        raise NotFoundError(
            f"There are {len(golden)} samples, numbered from 0; there is no sample {index}."
        )
    png = classifier.rendered(f"{index}.png", lambda: sample_png(golden[index].png, spec))
    headers = {
        "ETag": f'"{hashlib.sha256(png).hexdigest()[:32]}"',
        "Cache-Control": "no-cache",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(png, media_type="image/png", headers=headers)
