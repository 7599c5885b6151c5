"""`GET /architecture`: the network that is loaded, part by part, as data or as a drawing."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from model.drawing import draw
from service.classifier import Classifier
from service.routes.problems import problems
from service.schemas import ArchitectureResponse

SVG = "image/svg+xml"
SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""The drawing carries its own colours, and nothing that runs."""

router = APIRouter()


class ArchitectureQuery(BaseModel):
    """What may stand behind the question mark."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["json", "svg"] = Field("json", description="Data, or a drawing of them.")


@dataclass(frozen=True)
class Description:
    """Both answers, written once."""

    json: bytes
    svg: bytes


@router.get(
    "/architecture",
    summary="Describe the network that is loaded",
    response_model=ArchitectureResponse,
    responses={200: {"content": {SVG: {}}}, **problems(400)},
)
async def architecture(request: Request, query: Annotated[ArchitectureQuery, Query()]) -> Response:
    """Spec, stages, blocks, shapes, costs, figures, provenance: from the manifest."""
    description: Description = request.app.state.architecture
    if query.format == "svg":
        headers = {"Content-Security-Policy": SVG_POLICY}
        return Response(description.svg, media_type=SVG, headers=headers)
    return Response(description.json, media_type="application/json")


def describe(classifier: Classifier) -> Description:
    """Write the answers once; they do not change while the model is loaded."""
    manifest = classifier.manifest
    drawing = draw(manifest.architecture.name, manifest.summary)
    return Description(_write_json(classifier), drawing.encode())


def _write_json(classifier: Classifier) -> bytes:
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
        )
        .model_dump_json()
        .encode()
    )
