"""`GET /models`: what this process serves."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request

from service.api.schemas import ModelsResponse, ServedModel
from service.api.state import service_of
from service.registry.classifier import Classifier
from service.registry.registry import ModelRegistry

router = APIRouter()


@router.get("/models", summary="List the models that are served")
async def models(request: Request) -> ModelsResponse:
    """One entry for each name, the default model's first."""
    registry = service_of(request).models
    return ModelsResponse(
        default=registry.find().info,
        models=[
            _entry(registry, classifier, found)
            for name, found in registry.by_name().items()
            if (classifier := registry.answering(name)) is not None
        ],
    )


def _entry(registry: ModelRegistry, classifier: Classifier, versions: list[str]) -> ServedModel:
    manifest, info = classifier.manifest, classifier.info
    aliases = registry.entry(info.name).aliases
    return ServedModel(
        **info.model_dump(),
        versions=sorted(versions, key=int),
        aliases={alias: str(version) for alias, version in aliases.items()},
        default=info.name == registry.find().info.name,
        architecture=manifest.architecture.name,
        labels=len(manifest.labels),
        input=manifest.input,
        parameters=manifest.summary.parameters,
        bytes=manifest.files[info.precision].bytes,
        since=datetime.fromtimestamp(classifier.loaded_at, UTC),
        dataset=manifest.metrics.dataset if manifest.metrics else None,
    )
