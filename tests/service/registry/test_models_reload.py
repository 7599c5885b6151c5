"""A reload: new models come, refused ones stay out, removed ones go."""

import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import StartError
from service.registry.folders import digest_of
from service.registry.trial import TrialLoad
from tests.service.conftest import MakeArtifact, Service
from tests.service.images import WHITE
from tests.service.served_models import damage, health, reload, reloads, serving_from, version

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("trials")]


def info(service: Service, number: str) -> float | None:
    labels = {"precision": "float32", "provider": "cpu", "architecture": "mini_resnet"}
    registry = service.app.state.service.telemetry.registry
    value: float | None = registry.get_sample_value(
        "resnet_model_info", {"name": "tiny", "version": number, **labels}
    )
    return value


async def test_a_new_version_becomes_the_default_and_the_old_one_goes(
    make_artifact: MakeArtifact, trials: list[Path]
) -> None:
    folder = make_artifact().parent
    async with serving_from(folder) as service:
        make_artifact(version="2")
        await reload(service)

        assert await version(service) == "tiny 2"
        assert await health(service) == (["tiny 2"], [])
        assert (info(service, "1"), info(service, "2")) == (0, 1)
        assert (reloads(service, "loaded"), reloads(service, "refused")) == (1, 0)

    assert trials == [folder / "2"]


async def test_a_reload_at_a_bad_moment_leaves_the_times_as_they_were(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_artifact().parent
    async with serving_from(folder) as service:
        before = service.classifier.batcher.cost
        monkeypatch.setattr("service.registry.loading.measure", lambda *_: {1: 100.0})
        make_artifact(version="2")
        await reload(service)

        assert await version(service) == "tiny 2"
        assert service.classifier.batcher.cost is not before
        assert service.classifier.batcher.cost.seconds == before.seconds


async def test_a_reload_without_news_loads_nothing(
    make_artifact: MakeArtifact, trials: list[Path]
) -> None:
    async with serving_from(make_artifact().parent) as service:
        before = service.classifier
        await reload(service)

        assert service.classifier is before
        assert reloads(service, "loaded") == 0
    assert trials == []


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
        assert reloads(service, "refused") == 1  # tried once
        listed = (await service.client.get("/livez")).json()["refused"]
        index = (await service.client.post("/v2/repository/index")).json()

    (anonymous,) = listed
    assert "tiny" not in str(anonymous)
    assert [entry["state"] for entry in index] == ["READY"] * 3
    (error,) = [record for record in caplog.records if record.getMessage() == "model refused"]
    fields = error.__dict__["fields"]
    assert fields["folder"] == str(folder / "2")
    assert [fields["reason"]] == reasons
    assert str(folder / "2") in reasons[0]


@pytest.mark.parametrize("name", ["manifest.json", "model.float32.onnx"])
async def test_a_file_that_is_none_is_refused_and_not_tried_again(
    make_artifact: MakeArtifact, trials: list[Path], name: str
) -> None:
    folder = make_artifact().parent
    async with serving_from(folder) as service:
        candidate = make_artifact(version="2")
        (candidate / name).unlink()
        os.mkfifo(candidate / name)
        for _ in range(2):
            await reload(service)

        served, (reason,) = await health(service)
        assert served == ["tiny 1"]
        assert reason == f"{candidate / name} cannot be read: it is a FIFO, and must be a file."
        assert trials == [candidate]


async def test_a_manifest_of_gigabytes_costs_a_check_no_memory(make_artifact: MakeArtifact) -> None:
    candidate = make_artifact()
    os.truncate(candidate / "manifest.json", 2**31)

    tracemalloc.start()
    try:
        first, second = digest_of(candidate), digest_of(candidate)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert first == second != ""
    assert peak < 2**20


async def test_a_file_that_may_be_read_now_is_another_state(make_artifact: MakeArtifact) -> None:
    candidate = make_artifact()
    (model,) = candidate.glob("*.onnx")
    before = digest_of(candidate)
    model.chmod(0o600 if model.stat().st_mode & 0o077 else 0o644)

    assert digest_of(candidate) != before


async def test_a_link_that_leads_elsewhere_now_is_another_state(
    make_artifact: MakeArtifact,
) -> None:
    candidate = make_artifact()
    (model,) = candidate.glob("*.onnx")
    data = candidate / "data"
    data.mkdir()
    model.rename(data / "model")
    model.symlink_to("data/model")
    before = digest_of(candidate)
    (data / "model").write_bytes(b"another")
    after = digest_of(candidate)
    (data / "model").unlink()

    assert len({before, after, digest_of(candidate), ""}) == 4


async def test_a_copy_of_the_default_under_the_root_does_not_take_its_place(
    make_artifact: MakeArtifact,
) -> None:
    default = make_artifact()
    async with serving_from(default.parent, default.parents[1]) as service:
        before = service.classifier
        shutil.copytree(default, default.parent / "2")
        await reload(service)
        served, reasons = await health(service)

        assert service.classifier is before
        assert served == ["tiny 1"]
        assert "/tiny/2 contains tiny 1" in reasons[0]


async def test_a_candidate_that_crashes_its_trial_is_refused(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(folder: Path) -> None:
        raise StartError(f"{folder} made its process end with signal 11.")

    async with serving_from(make_artifact().parent) as service:
        make_artifact(version="2")
        monkeypatch.setattr(TrialLoad, "__call__", lambda _, folder: crash(folder))
        await reload(service)

        assert await version(service) == "tiny 1"
        assert "signal 11" in (await health(service))[1][0]


async def test_a_folder_that_was_still_being_copied_is_tried_again(
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


async def test_a_folder_that_is_taken_away_during_the_trial_is_no_refused_candidate(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with serving_from(make_artifact().parent) as service:
        candidate = make_artifact(version="2")
        monkeypatch.setattr(
            TrialLoad, "__call__", lambda _, folder: folder.rename(tmp_path / "away")
        )
        await reload(service)

        assert not candidate.exists()
        assert await health(service) == (["tiny 1"], [])
        assert reloads(service, "refused") == 0


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


async def test_a_version_that_may_not_be_read_is_refused_alone(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = make_artifact()
    async with serving_from(default.parent) as service:
        locked = make_artifact(version="3")
        make_artifact(version="2")
        looked_at = Path.lstat

        def refusing(path: Path) -> os.stat_result:
            if path.parent == locked:
                raise PermissionError(13, "Permission denied")
            return looked_at(path)

        monkeypatch.setattr(Path, "lstat", refusing)
        damage(locked)
        await reload(service)

        served, reasons = await health(service)
        assert served == ["tiny 2"]
        assert len(reasons) == 1
