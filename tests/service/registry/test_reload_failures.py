"""A reload in which something unforeseen happens, or which is cut short."""

import asyncio
import re
import stat
import sys
import threading
from pathlib import Path

import pytest

from service.registry import folders
from service.registry.trial import TrialLoad
from tests.service.conftest import MakeArtifact
from tests.service.listening import listen, wait_until
from tests.service.served_models import health, reload, reloads, serving_from, version

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(11, "Resource temporarily unavailable"), "cannot be tried: .*unavailable"),
        (ValueError("a surprise"), "failed; the log has the reason"),
    ],
)
async def test_a_candidate_whose_trial_fails_unforeseen_is_refused_alone(
    error: Exception,
    reason: str,
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def trial(_: TrialLoad, folder: Path) -> None:
        if folder.name == "2":
            raise error

    monkeypatch.setattr(TrialLoad, "__call__", trial)
    default = make_artifact()
    async with serving_from(default, default.parents[1]) as service:
        make_artifact(version="2")
        make_artifact(name="zebra")  # tried after the other
        await reload(service)
        served, reasons = await health(service)

        assert served == ["tiny 1", "zebra 1"]
        assert (reloads(service, "loaded"), reloads(service, "refused")) == (1, 1)
    (public,) = reasons
    assert re.fullmatch(rf"{default.parent / '2'} {reason}\.", public)
    assert isinstance(error, OSError) or "a surprise" in caplog.text


async def test_what_the_machine_could_not_try_is_tried_again(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [OSError(12, "Cannot allocate memory")]

    def trial(_: TrialLoad, folder: Path) -> None:  # noqa: ARG001  # as the real one
        if failing:
            raise failing.pop()

    monkeypatch.setattr(TrialLoad, "__call__", trial)
    async with serving_from(make_artifact().parent) as service:
        make_artifact(version="2")
        await reload(service)
        before = await version(service)
        await reload(service)

        assert (before, await version(service)) == ("tiny 1", "tiny 2")
        assert await health(service) == (["tiny 2"], [])


@pytest.mark.usefixtures("trials")
async def test_a_default_folder_that_may_not_be_read_stops_no_reload(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(path))

    default = make_artifact()
    async with serving_from(default, default.parents[1]) as service:
        make_artifact(name="zebra")
        monkeypatch.setattr(folders, "resolve", refuse)
        await reload(service)

        assert await health(service) == (["tiny 1", "zebra 1"], [])


def test_what_stops_a_reload_is_logged_and_the_next_reload_comes(
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reloads_begun: list[int] = []

    async def fail() -> None:
        reloads_begun.append(1)
        raise RuntimeError("a surprise")

    with listen(make_artifact(), reload_interval_s=0.1) as listening:
        monkeypatch.setattr(listening.server.state.control, "reload", fail)
        wait_until(lambda: len(reloads_begun) >= 2)

    logged = [record for record in caplog.records if record.getMessage() == "reload failed"]
    assert len(logged) >= 2
    assert all(record.exc_info and "a surprise" in str(record.exc_info[1]) for record in logged)


async def test_stop_ends_a_reload_and_no_candidate_fails(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, tried = tmp_path / "child", tmp_path / "tried"
    child.write_text(f'#!/bin/sh\necho "$3" >> {tried}\nexec sleep 5\n')
    child.chmod(stat.S_IRWXU)
    monkeypatch.setattr("sys.executable", str(child))
    default = make_artifact()
    async with serving_from(default, default.parents[1]) as service:
        make_artifact(version="2")
        make_artifact(name="zebra")
        reloading = asyncio.create_task(reload(service))
        while not (tried.exists() and tried.read_text()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.wait_for(reloading, 10)

    assert tried.read_text().splitlines() == [str(default.parent / "2")]
    assert service.app.state.service.models.failed() == []
    assert reloads(service, "refused") == 0


async def test_another_thread_may_list_the_models_during_a_reload(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()
    before = sys.getswitchinterval()
    async with serving_from(make_artifact()) as service:
        models = service.app.state.service.models
        monkeypatch.setattr(models, "_served", dict(models._served))
        (served,) = models._served.values()

        def come_and_go() -> None:
            while not is_over.is_set():
                for number in range(50):
                    models._served[Path(str(number))] = served
                for number in range(50):
                    del models._served[Path(str(number))]

        reloading = threading.Thread(target=come_and_go)
        sys.setswitchinterval(1e-6)
        reloading.start()
        try:
            listed = {models.all()[0] for _ in range(20_000)}
        except RuntimeError as error:  # the dictionary has changed
            listed = {error}
        finally:
            is_over.set()
            reloading.join()
            sys.setswitchinterval(before)

    assert listed == {served.classifier}
