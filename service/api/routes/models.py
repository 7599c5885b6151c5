"""`GET /models`: what this process serves."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request

from service.api.schemas import ModelsResponse, ServedModel
from service.api.state import service_of
from service.registry.classifier import Classifier

router = APIRouter()


@router.get("/models", summary="List the models that are served")
async def models(request: Request) -> ModelsResponse:
    """One entry for each name, the default model's first."""
    registry = service_of(request).models
    default, versions = registry.find(), dict[str, list[str]]()
    for classifier in registry.all():
        versions.setdefault(classifier.info.name, []).append(classifier.info.version)
    return ModelsResponse(
        default=default.info,
        models=[
            _entry(registry.find(name), found, is_default=name == default.info.name)
            for name, found in versions.items()
        ],
    )


def _entry(classifier: Classifier, versions: list[str], *, is_default: bool) -> ServedModel:
    manifest, info = classifier.manifest, classifier.info
    return ServedModel(
        **info.model_dump(),
        versions=sorted(versions, key=int),
        default=is_default,
        architecture=manifest.architecture.name,
        labels=len(manifest.labels),
        input=manifest.input,
        parameters=manifest.summary.parameters,
        bytes=manifest.files[info.precision].bytes,
        since=datetime.fromtimestamp(classifier.loaded_at, UTC),
        dataset=manifest.metrics.dataset if manifest.metrics else None,
    )
