"""Models that come and go in this process, and what the service says of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import LEAN, Service, serving
from tests.service.images import WHITE


@asynccontextmanager
async def serving_from(artifact: Path, root: Path | None = None) -> AsyncIterator[Service]:
    settings: dict[str, Any] = {"artifact": artifact, "model_repository": root, **LEAN}
    async with serving(create_app(Settings(**settings))) as service:
        yield service


async def reload(service: Service) -> None:
    await service.app.state.service.control.reload()


async def version(service: Service, path: str = "/predict") -> str:
    """Ask for an answer; tell which model gave it."""
    response = await service.client.post(path, content=WHITE)
    assert response.status_code == 200
    model = response.json()["model"]
    return f"{model['name']} {model['version']}"


async def health(service: Service) -> tuple[list[str], list[str]]:
    """What `/readyz` says is served, and why others are not, which it does not say."""
    answer = (await service.client.get("/readyz")).json()
    served = [f"{model['name']} {model['version']}" for model in answer["models"]]
    reasons = [failed.reason for failed in service.app.state.service.models.failed()]
    assert len(answer["refused"]) == len(reasons)
    assert not [reason for reason in reasons if reason in str(answer)]
    return served, reasons


def reloads(service: Service, outcome: str) -> float | None:
    registry = service.app.state.service.telemetry.registry
    value: float | None = registry.get_sample_value("resnet_reloads_total", {"outcome": outcome})
    return value


def damage(folder: Path) -> None:
    (model,) = folder.glob("*.onnx")
    model.write_bytes(model.read_bytes()[:-1])
