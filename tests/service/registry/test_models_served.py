"""Which models are served, by which names, and which are refused."""

import shutil
from pathlib import Path

import pytest

from service.app import create_app
from service.errors import StartError
from service.registry.classifier import Classifier
from service.registry.control import ModelControl
from service.registry.peers import Peers
from service.registry.registry import ModelRegistry
from service.settings import Settings
from tests.service import graphs
from tests.service.conftest import MakeArtifact
from tests.service.images import WHITE
from tests.service.served_models import damage, health, serving_from, version

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("trials")]


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


@pytest.mark.parametrize("folder", ["good/2", "mine/1"])
async def test_a_folder_that_is_not_named_as_its_manifest_says_is_refused_alone(
    folder: str, make_artifact: MakeArtifact, trials: list[Path]
) -> None:
    default, good = make_artifact(), make_artifact(name="good")
    copy = default.parents[1] / folder
    shutil.copytree(good, copy)

    async with serving_from(default, default.parents[1]) as service:
        served, (reason,) = await health(service)

    assert served == ["tiny 1", "good 1"]
    assert reason == (
        f"{copy} contains good 1; a folder in RESNET_MODEL_REPOSITORY must have the name and "
        "version of its manifest, good/1. Move it there, or export the model again."
    )
    assert trials == [good]  # which takes a second each


async def test_a_folder_whose_manifest_cannot_be_read_is_refused_alone(
    make_artifact: MakeArtifact,
) -> None:
    default, bad = make_artifact(), make_artifact(name="bad")
    (bad / "manifest.json").write_text("{")

    async with serving_from(default, default.parents[1]) as service:
        served, (reason,) = await health(service)

    assert served == ["tiny 1"]
    assert reason.startswith(f"{bad}/manifest.json: ")


async def test_the_default_is_served_wherever_it_lies(make_artifact: MakeArtifact) -> None:
    root = make_artifact(name="other").parents[1]
    elsewhere = make_artifact().rename(root / "mounted")
    within = make_artifact(version="2").rename(root / "other/9")

    for default, expected in ((elsewhere, "tiny 1"), (within, "tiny 2")):
        async with serving_from(default, root) as service:
            assert await version(service) == expected


async def test_a_model_is_loaded_once_however_its_folder_is_named(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = make_artifact()
    monkeypatch.chdir(default.parents[1])

    async with serving_from(Path("tiny/1"), default.parents[1]) as service:
        assert (await health(service))[0] == ["tiny 1"]


def test_a_root_that_is_no_folder_is_refused(make_artifact: MakeArtifact) -> None:
    settings = Settings(artifact=make_artifact(), model_repository=Path("nowhere"))

    with pytest.raises(
        StartError, match=r"RESNET_MODEL_REPOSITORY \(=nowhere\) is not a readable folder"
    ):
        create_app(settings)


async def test_each_change_is_reported_with_the_default_model(make_artifact: MakeArtifact) -> None:
    folder = make_artifact()
    make_artifact(name="other")
    changes: list[list[str | None]] = []

    def note(*models: Classifier | None) -> None:
        changes.append([f"{m.info.name} {m.info.version}" if m else None for m in models])

    settings, peers = Settings(artifact=folder.parent, model_repository=folder.parents[1]), Peers()
    registry = ModelRegistry(settings, on_change=note)
    at_start = changes.copy()
    changes.clear()
    make_artifact(version="2")
    await ModelControl(settings, registry, peers).reload()
    await registry.stop()

    assert at_start == [["tiny 1", "tiny 1", None], ["tiny 1", "other 1", None]]
    assert changes == [["tiny 1", "tiny 2", None], ["tiny 2", None, None]]
