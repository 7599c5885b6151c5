"""`GET /architecture`: the network that is loaded, part by part."""

from fastapi import APIRouter, Request, Response

from service.classifier import Classifier
from service.schemas import ArchitectureResponse, BatchTime, Serving

router = APIRouter()


@router.get(
    "/architecture",
    summary="Describe the network that is loaded",
    response_model=ArchitectureResponse,
)
async def architecture(request: Request) -> Response:
    """Spec, stages, blocks, shapes, costs, figures, provenance: from the manifest."""
    return Response(describe(request.app.state.models.find()), media_type="application/json")


def describe(classifier: Classifier) -> bytes:
    """Write what the manifest says, and how the engine was measured here."""
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
            provenance=manifest.provenance,
            serving=Serving(
                instances=classifier.batcher.plan.instances,
                threads=classifier.engine.threads,
                batches=[
                    BatchTime(images=size, ms=round(1000 * seconds, 3))
                    for size, seconds in classifier.batcher.plan.seconds.items()
                ],
            ),
        )
        .model_dump_json()
        .encode()
    )
