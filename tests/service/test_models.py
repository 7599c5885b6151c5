"""Which models are served, and how they come and go, in this process."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service import models
from service.app import create_app
from service.errors import StartError
from service.probe import Probe
from service.settings import Settings
from tests.service import graphs
from tests.service.conftest import LEAN, Gate, MakeArtifact, Service, replace_engine, serving
from tests.service.pictures import WHITE

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def probed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note what would be tried in a child process, which takes a second each."""
    folders: list[Path] = []
    monkeypatch.setattr(Probe, "__call__", lambda _, folder: folders.append(folder))
    return folders


@asynccontextmanager
async def serving_from(artifact: Path, root: Path | None = None) -> AsyncIterator[Service]:
    settings: dict[str, Any] = {"artifact": artifact, "models": root, **LEAN}
    async with serving(create_app(Settings(**settings))) as service:
        yield service


async def reload(service: Service) -> None:
    await service.app.state.models.reload()


async def version(service: Service, path: str = "/predict") -> str:
    """Ask for an answer; tell which model gave it."""
    response = await service.client.post(path, content=WHITE)
    assert response.status_code == 200
    model = response.json()["model"]
    return f"{model['name']} {model['version']}"


async def health(service: Service) -> tuple[list[str], list[str]]:
    """What `/readyz` says is served, and why others are not."""
    answer = (await service.client.get("/readyz")).json()
    served = [f"{model['name']} {model['version']}" for model in answer["models"]]
    return served, [refused["reason"] for refused in answer["refused"]]


def reloads(service: Service, outcome: str) -> float | None:
    registry = service.app.state.telemetry.registry
    value: float | None = registry.get_sample_value("resnet_reloads_total", {"outcome": outcome})
    return value


def info(service: Service, number: str) -> float | None:
    labels = {"precision": "float32", "provider": "cpu", "architecture": "mini_resnet"}
    registry = service.app.state.telemetry.registry
    value: float | None = registry.get_sample_value(
        "resnet_model_info", {"name": "tiny", "version": number, **labels}
    )
    return value


def damage(folder: Path) -> None:
    (model,) = folder.glob("*.onnx")
    model.write_bytes(model.read_bytes()[:-1])


# What is served


async def test_every_version_under_the_root_is_served(make_artifact: MakeArtifact) -> None:
    make_artifact(version="9")
    make_artifact(version="10")
    make_artifact(name="other")
    default = make_artifact(version="2")

    async with serving_from(default, default.parents[1]) as service:
        assert await version(service) == "tiny 2"
        assert await version(service, "/models/tiny/predict") == "tiny 10"
        assert await version(service, "/models/other/predict") == "other 1"
        assert (await health(service))[0] == ["tiny 2", "other 1", "tiny 10", "tiny 9"]


async def test_without_a_root_the_default_is_served_by_its_name_too(
    make_artifact: MakeArtifact,
) -> None:
    async with serving_from(make_artifact()) as service:
        assert await version(service, "/models/tiny/predict") == "tiny 1"


@pytest.mark.parametrize("name", ["nobody", "tiny.", "%2e%2e", "x" * 3_000, "a%0ab"])
async def test_a_model_that_is_not_there_is_not_found(
    name: str, make_artifact: MakeArtifact
) -> None:
    async with serving_from(make_artifact()) as service:
        response = await service.client.post(f"/models/{name}/predict", content=WHITE)

    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")
    assert "there is tiny" in response.json()["detail"]
    assert len(response.content) < 500


async def test_models_share_one_label_in_the_metrics(make_artifact: MakeArtifact) -> None:
    async with serving_from(make_artifact()) as service:
        await version(service, "/models/tiny/predict")
        await service.client.post("/models/nobody/predict", content=WHITE)
        text = (await service.client.get("/metrics")).text

    lines = [line for line in text.splitlines() if line.startswith("resnet_requests_total")]
    assert {line.split('route="')[1].split('"')[0] for line in lines} == {"/models/{name}/predict"}


async def test_a_bad_artifact_does_not_take_the_others_down(make_artifact: MakeArtifact) -> None:
    default = make_artifact()
    damage(make_artifact(name="broken"))
    make_artifact(graphs.swapped(), name="wrong")
    make_artifact(name="good")
    (default.parents[1] / "not a model").mkdir()
    (default.parents[1] / "good/2").mkdir()

    async with serving_from(default, default.parents[1]) as service:
        served, reasons = await health(service)
        answers = [await version(service, f"/models/{name}/predict") for name in ("tiny", "good")]

    assert served == ["tiny 1", "good 1"]
    assert answers == served
    assert len(reasons) == 2
    assert "bytes; the manifest says" in reasons[0]
    assert "golden" in reasons[1]


async def test_a_model_is_loaded_once_however_its_folder_is_named(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = make_artifact()
    monkeypatch.chdir(default.parents[1])

    async with serving_from(Path("tiny/1"), default.parents[1]) as service:
        assert (await health(service))[0] == ["tiny 1"]


def test_a_root_that_is_no_folder_is_refused(make_artifact: MakeArtifact) -> None:
    settings = Settings(artifact=make_artifact(), models=Path("nowhere"))

    with pytest.raises(StartError, match=r"RESNET_MODELS \(=nowhere\) is no folder"):
        create_app(settings)


# Reload


async def test_a_new_version_becomes_the_default_and_the_old_one_goes(
    make_artifact: MakeArtifact, probed: list[Path]
) -> None:
    folder = make_artifact().parent
    async with serving_from(folder) as service:
        make_artifact(version="2")
        await reload(service)

        assert await version(service) == "tiny 2"
        assert await health(service) == (["tiny 2"], [])
        assert (info(service, "1"), info(service, "2")) == (0, 1)
        assert (reloads(service, "loaded"), reloads(service, "refused")) == (1, 0)

    assert probed == [folder / "2"]


async def test_a_reload_without_news_loads_nothing(
    make_artifact: MakeArtifact, probed: list[Path]
) -> None:
    async with serving_from(make_artifact().parent) as service:
        before = service.classifier
        await reload(service)

        assert service.classifier is before
        assert reloads(service, "loaded") == 0
    assert probed == []


async def test_a_refused_candidate_leaves_the_old_one_serving(
    make_artifact: MakeArtifact, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_artifact().parent
    async with serving_from(folder) as service:
        damage(make_artifact(version="2"))
        for _ in range(2):
            await reload(service)
            served, reasons = await health(service)

            assert await version(service) == "tiny 1"
            assert served == ["tiny 1"]
            assert len(reasons) == 1
        assert reloads(service, "refused") == 1  # looked at once

    (error,) = [record for record in caplog.records if record.getMessage() == "model refused"]
    assert error.__dict__["fields"] == {"folder": str(folder / "2"), "reason": reasons[0]}


async def test_a_candidate_that_crashes_its_probe_is_refused(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(folder: Path) -> None:
        raise StartError(f"{folder} ended its process with signal 11.")

    async with serving_from(make_artifact().parent) as service:
        make_artifact(version="2")
        monkeypatch.setattr(Probe, "__call__", lambda _, folder: crash(folder))
        await reload(service)

        assert await version(service) == "tiny 1"
        assert "signal 11" in (await health(service))[1][0]


async def test_a_folder_that_was_still_being_copied_is_looked_at_again(
    make_artifact: MakeArtifact,
) -> None:
    async with serving_from(make_artifact().parent) as service:
        candidate = make_artifact(version="2")
        (model,) = candidate.glob("*.onnx")
        whole = model.read_bytes()
        model.write_bytes(whole[:100])
        await reload(service)
        assert await version(service) == "tiny 1"

        model.write_bytes(whole)
        await reload(service)

        assert await version(service) == "tiny 2"
        assert await health(service) == (["tiny 2"], [])


async def test_a_model_changed_in_its_place_is_replaced(make_artifact: MakeArtifact) -> None:
    async with serving_from(make_artifact()) as service:
        before = service.classifier
        make_artifact(overwrite=True)
        await reload(service)

        assert service.classifier is not before
        assert await version(service) == "tiny 1"
        assert info(service, "1") == 1


async def test_the_default_stays_when_its_folder_is_gone(make_artifact: MakeArtifact) -> None:
    folder = make_artifact()
    async with serving_from(folder, folder.parents[1]) as service:
        shutil.rmtree(folder.parent)
        await reload(service)

        assert await version(service) == "tiny 1"


async def test_a_removed_version_goes_away_and_so_does_a_refused_one(
    make_artifact: MakeArtifact,
) -> None:
    default = make_artifact()
    other, bad = make_artifact(name="other"), make_artifact(name="bad")
    damage(bad)
    async with serving_from(default, default.parents[1]) as service:
        assert len((await health(service))[1]) == 1
        shutil.rmtree(other)
        shutil.rmtree(bad)
        await reload(service)

        response = await service.client.post("/models/other/predict", content=WHITE)

        assert (response.status_code, response.json()["code"]) == (404, "model_not_found")
        assert await health(service) == (["tiny 1"], [])


async def test_nothing_is_taken_away_while_the_root_cannot_be_read(
    make_artifact: MakeArtifact,
) -> None:
    default, _ = make_artifact(), make_artifact(name="other")
    root = default.parents[1]
    async with serving_from(default, root) as service:
        away = root.rename(root.with_name("away"))
        await reload(service)
        meanwhile = await health(service)
        away.rename(root)
        await reload(service)

        assert meanwhile == await health(service) == (["tiny 1", "other 1"], [])


async def test_a_folder_that_may_not_be_read_costs_no_other_model(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    default, _ = make_artifact(), make_artifact(name="other")
    (default.parents[1] / "lost+found").mkdir()
    listed = Path.iterdir

    def refusing(path: Path) -> Iterator[Path]:
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    async with serving_from(default, default.parents[1]) as service:
        make_artifact(name="third")
        await reload(service)

        assert (await health(service))[0] == ["tiny 1", "other 1", "third 1"]


# Requests under way


async def test_a_request_keeps_the_model_that_it_rides_on(make_artifact: MakeArtifact) -> None:
    folder = make_artifact().parent
    gate = Gate()
    async with serving_from(folder) as service:
        batcher = replace_engine(service.app, gate)
        batcher.start()
        riding = asyncio.create_task(service.client.post("/predict", content=WHITE))
        await gate.has_entered()
        make_artifact(version="2")
        await reload(service)
        newer = await version(service)
        await asyncio.sleep(2 * models.RETIRE_S)
        gate.let_through()

        response = await riding

    assert (response.status_code, newer) == (200, "tiny 2")


async def test_a_body_that_spans_a_reload_is_answered_by_the_new_model(
    make_artifact: MakeArtifact,
) -> None:
    is_swapped = asyncio.Event()
    async with serving_from(make_artifact().parent) as service:

        async def slowly() -> AsyncIterator[bytes]:
            yield WHITE[:10]
            await is_swapped.wait()
            yield WHITE[10:]

        asking = asyncio.create_task(service.client.post("/predict", content=slowly()))
        await asyncio.sleep(0.05)
        make_artifact(version="2")
        await reload(service)
        await asyncio.sleep(4 * models.RETIRE_S)  # the old one has ended by now
        is_swapped.set()

        response = await asking

    assert response.status_code == 200
    assert response.json()["model"]["version"] == "2"


async def test_no_request_fails_while_models_come_and_go(make_artifact: MakeArtifact) -> None:
    is_over = asyncio.Event()
    seen: list[str] = []
    async with serving_from(make_artifact().parent) as service:

        async def ask_on_and_on() -> None:
            while not is_over.is_set():
                seen.append(await version(service))

        askers = [asyncio.create_task(ask_on_and_on()) for _ in range(4)]
        for number in range(2, 8):
            candidate = make_artifact(version=str(number))
            if number % 2:
                damage(candidate)
            await reload(service)
        is_over.set()
        await asyncio.gather(*askers)

        assert (reloads(service, "loaded"), reloads(service, "refused")) == (3, 3)
    assert seen[-1] == "tiny 6"
