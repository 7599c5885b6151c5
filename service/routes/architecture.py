"""`GET /architecture`: the network that is loaded, part by part."""

from fastapi import APIRouter, Request, Response

from service.classifier import Classifier
from service.schemas import ArchitectureResponse

router = APIRouter()


@router.get(
    "/architecture",
    summary="Describe the network that is loaded",
    response_model=ArchitectureResponse,
)
async def architecture(request: Request) -> Response:
    """Spec, stages, blocks, shapes, costs, figures, provenance: from the manifest."""
    return Response(request.app.state.architecture, media_type="application/json")


def describe(classifier: Classifier) -> bytes:
    """Write the answer once; it does not change while the model is loaded."""
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
