"""A start from a folder of versions: the newest good one is served, as after a reload."""

from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.errors import StartError
from service.registry import loading
from service.registry.loading import choose_workers
from service.registry.trial import TrialLoad
from service.settings import Settings
from tests.service import graphs
from tests.service.conftest import MakeArtifact
from tests.service.served_models import damage, health, reload, serving_from, version

pytestmark = pytest.mark.anyio


async def test_a_start_falls_back_on_the_newest_good_version_and_logs_the_bad_ones(
    make_artifact: MakeArtifact, trials: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_artifact(version="9").parent
    make_artifact(version="10")
    damage(make_artifact(version="11"))
    make_artifact(graphs.swapped(), version="12")

    async with serving_from(folder) as service:
        served, reasons = await health(service)
        answered = await version(service)
        await reload(service)
        later = await health(service)

    assert answered == "tiny 10"
    assert served == ["tiny 10"]
    assert "golden" in reasons[0]
    assert "bytes; the manifest says" in reasons[1]
    assert later == (served, reasons)
    assert trials == [folder / "12", folder / "11", folder / "10"]  # each once
    logged = [record for record in caplog.records if record.getMessage() == "model refused"]
    assert [record.__dict__["fields"]["folder"] for record in logged] == [
        str(folder / "12"),
        str(folder / "11"),
    ]


async def test_a_version_that_crashes_its_trial_does_not_crash_the_start(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: TrialLoad, folder: Path) -> None:
        if folder.name == "2":
            raise StartError(f"{folder} made its process end with signal 11.")

    monkeypatch.setattr(TrialLoad, "__call__", crash)
    folder = make_artifact().parent
    make_artifact(version="2")

    async with serving_from(folder) as service:
        assert await version(service) == "tiny 1"
        assert "signal 11" in (await health(service))[1][0]


async def test_a_reload_falls_back_as_a_start_does(
    make_artifact: MakeArtifact, trials: list[Path]
) -> None:
    folder = make_artifact().parent
    async with serving_from(folder) as service:
        make_artifact(version="2")
        damage(make_artifact(version="3"))
        await reload(service)
        served, (reason,) = await health(service)

        assert await version(service) == "tiny 2"
        assert served == ["tiny 2"]
        assert "bytes; the manifest says" in reason
        make_artifact(version="3", overwrite=True)
        await reload(service)

        assert await health(service) == (["tiny 3"], [])
    assert trials == [folder / name for name in ("3", "2", "3")]


async def test_a_bad_version_under_the_root_is_tried_once(
    make_artifact: MakeArtifact, trials: list[Path]
) -> None:
    folder = make_artifact().parent
    damage(make_artifact(version="2"))

    async with serving_from(folder, folder.parent) as service:
        served, reasons = await health(service)

    assert served == ["tiny 1"]
    assert len(reasons) == 1
    assert trials == [folder / "2", folder / "1"]


def test_a_start_without_a_good_version_is_refused_with_the_newest_ones_reason(
    make_artifact: MakeArtifact, trials: list[Path]
) -> None:
    folder = make_artifact(graphs.swapped()).parent
    newest = make_artifact(version="2")
    damage(newest)

    with pytest.raises(StartError, match="bytes; the manifest says") as refused:
        create_app(Settings(artifact=folder))

    assert str(newest) in str(refused.value)
    assert trials == [newest, folder / "1"]


@pytest.mark.usefixtures("trials")
def test_a_bad_version_that_was_named_is_refused_whatever_lies_beside_it(
    make_artifact: MakeArtifact,
) -> None:
    make_artifact()
    named = make_artifact(version="2")
    damage(named)

    with pytest.raises(StartError, match="bytes; the manifest says"):
        create_app(Settings(artifact=named))


async def test_a_version_without_others_beside_it_needs_no_trial(
    make_artifact: MakeArtifact, trials: list[Path]
) -> None:
    async with serving_from(make_artifact().parent) as service:
        assert await version(service) == "tiny 1"

    assert trials == []


# choose_workers


@pytest.mark.parametrize("asked", [2, "auto"])
def test_workers_are_chosen_by_the_newest_good_version(
    asked: Any, make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []

    def trial(folder: Path) -> None:
        tried.append(folder)
        if folder.name == "4":
            raise StartError(f"{folder} made its process end with signal 11.")
        if folder.name == "3":
            raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(loading, "usable_cores", lambda **_: 2)
    folder = make_artifact().parent
    damage(make_artifact(version="2"))
    make_artifact(version="3")
    make_artifact(version="4")

    chosen = choose_workers(Settings(artifact=folder, workers=asked), trial)

    assert chosen == 2
    assert tried == [folder / name for name in "4321"]


def test_workers_without_a_good_version_are_refused_with_the_newest_ones_reason(
    make_artifact: MakeArtifact,
) -> None:
    folder = make_artifact(graphs.swapped()).parent
    damage(make_artifact(version="2"))

    with pytest.raises(StartError, match="bytes; the manifest says"):
        choose_workers(Settings(artifact=folder, workers=2))
