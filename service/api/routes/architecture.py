"""`GET /architecture`, also below `/models/{name}`: the network, as data or as a drawing."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from model.drawing.svg import draw
from service.api.model_routes import model_route
from service.api.schemas import ArchitectureResponse, BatchTime, Serving
from service.api.state import classifier_of
from service.registry.classifier import Classifier

SVG = "image/svg+xml"
SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""The drawing has inline styles and no scripts."""

router = APIRouter()


class ArchitectureQuery(BaseModel):
    """Query parameters."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["json", "svg"] = Field("json", description="JSON data, or an SVG drawing.")


@model_route(
    router,
    "GET",
    "/architecture",
    summary="Describe the loaded network",
    statuses=(400,),
    responses={200: {"content": {SVG: {}}}},
    response_model=ArchitectureResponse,
)
async def architecture(request: Request, query: Annotated[ArchitectureQuery, Query()]) -> Response:
    """Spec, stages, blocks, shapes, costs, figures, provenance: from the manifest."""
    classifier = classifier_of(request)
    if query.format == "svg":
        manifest = classifier.manifest
        drawing = classifier.rendered(
            "architecture.svg", lambda: draw(manifest.architecture.name, manifest.summary).encode()
        )
        headers = {"Content-Security-Policy": SVG_POLICY}
        return Response(drawing, media_type=SVG, headers=headers)
    return Response(describe(classifier), media_type="application/json")


def describe(classifier: Classifier) -> bytes:
    """Combine the manifest with the engine's times on this machine."""
    manifest = classifier.manifest
    summary = manifest.summary
    return (
        ArchitectureResponse(
            model=classifier.info,
            architecture=manifest.architecture,
            labels=manifest.labels,
            input=manifest.input,
            preprocessing=manifest.preprocessing,
            parameters=summary.parameters,
            macs=summary.macs,
            stem=summary.stem,
            stages=summary.stages,
            head=summary.head,
            temperature=manifest.temperature,
            files=dict(manifest.files),
            metrics=manifest.metrics,
            calibration=manifest.calibration,
            refusal=manifest.refusal,
            provenance=manifest.provenance,
            serving=Serving(
                instances=classifier.batcher.cost.instances,
                threads=classifier.batcher.cost.threads,
                max_batch_size=classifier.batcher.max_batch_size,
                batches=[
                    BatchTime(images=size, ms=round(1000 * seconds, 3))
                    for size, seconds in classifier.batcher.cost.seconds.items()
                ],
            ),
        )
        .model_dump_json()
        .encode()
    )
