"""Load and unload by request, pinned versions and aliases: with a key of scope `admin` alone."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.errors import StartError
from service.registry.peers import Peers, WorkerState
from service.registry.trial import TrialLoad
from service.settings import Settings
from tests.service.conftest import LEAN, Gate, MakeArtifact, Service, replace_engine, serving
from tests.service.images import WHITE
from tests.service.served_models import damage, reload

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("trials")]
ADMIN, OTHER = {"x-api-key": "admin-key"}, {"x-api-key": "other-key"}
PIN_1 = {"default_version": 1, "aliases": {"stable": 1, "canary": 2}}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text("ops: admin-key admin\nshop: other-key predict read")
    return path


@pytest.fixture
def root(make_artifact: MakeArtifact) -> Path:
    """A repository: the default model, and another one with two versions."""
    default = make_artifact()
    make_artifact(name="other")
    make_artifact(name="other", version="2")
    return default.parents[1]


@asynccontextmanager
async def keyed(root: Path, keys: Path, **changes: Any) -> AsyncIterator[Service]:
    settings: dict[str, Any] = {
        "artifact": root / "tiny",
        "model_repository": root,
        "api_keys_file": keys,
        **LEAN,
        **changes,
    }
    async with serving(create_app(Settings(**settings))) as service:
        service.client.headers.update(OTHER)
        yield service


async def change(service: Service, what: str, config: Any = None) -> tuple[int, str]:
    """Load or unload: the status, and the error if there is one."""
    body = None if config is None else {"parameters": {"config": config}}
    path = f"/v2/repository/models/{what}"
    response = await service.client.post(path, json=body, headers=ADMIN)
    return response.status_code, response.json().get("error", "")


async def answers(service: Service, *paths: str) -> list[str | int]:
    """Which version answers, or the status."""
    found = []
    for path in paths:
        response = await service.client.post(path, content=WHITE)
        is_answer = response.status_code == 200
        found.append(response.json()["model"]["version"] if is_answer else response.status_code)
    return found


def versions(*which: str) -> list[str]:
    return [f"/models/other/versions/{version}/predict" for version in which]


async def test_a_load_pins_a_version_and_names_others(root: Path, keys: Path) -> None:
    async with keyed(root, keys) as service:
        before = await answers(service, "/models/other/predict", *versions("1", "stable"))
        assert await change(service, "other/load", json.dumps(PIN_1)) == (200, "")

        paths = "/models/other/predict", *versions("1", "2", "stable", "canary", "01", "nobody")
        after = await answers(service, *paths)
        listed = (await service.client.get("/models")).json()["models"][1]
        v2 = await service.client.get("/v2/models/other-image/versions/canary/stats")
        card = (await service.client.get("/models/other/versions/canary/card")).json()

    assert before == ["2", "1", 404]
    assert after == ["1", "1", "2", "1", "2", 404, 404]
    assert (listed["version"], listed["aliases"]) == ("1", {"stable": "1", "canary": "2"})
    assert v2.json()["model_stats"][0]["version"] == "2"
    assert card["samples"][0]["path"] == "models/other/versions/canary/samples/0.png"


async def test_a_load_serves_the_versions_of_tritons_version_policy(root: Path, keys: Path) -> None:
    async with keyed(root, keys) as service:
        for policy, served in [
            ({"latest": {"num_versions": 1}}, [404, "2"]),
            ({"specific": {"versions": ["1"]}}, ["1", 404]),
            ({"all": {}}, ["1", "2"]),
        ]:
            assert await change(service, "other/load", {"version_policy": policy}) == (200, "")
            assert await answers(service, *versions("1", "2")) == served


async def test_a_refused_load_changes_nothing_and_only_an_admin_sees_why(
    root: Path, keys: Path, make_artifact: MakeArtifact, caplog: pytest.LogCaptureFixture
) -> None:
    async with keyed(root, keys) as service:
        await change(service, "other/load", PIN_1)
        bad = make_artifact(name="other", version="3")
        damage(bad)
        status, why = await change(service, "other/load", {"default_version": 3})

        assert status == 409
        assert f"{bad}/model.float32.onnx has" in why
        assert await answers(service, "/models/other/predict", *versions("3", "canary")) == [
            "1",
            404,
            "2",
        ]
        health = (await service.client.get("/readyz")).json()
        index, admins = [
            (await service.client.post("/v2/repository/index", headers=headers)).json()
            for headers in (OTHER, ADMIN)
        ]
        models = (await service.client.get("/models")).text
        metrics = (await service.client.get("/metrics")).text

    assert [set(refused.values()) for refused in health["refused"]] == [
        {"", "Refused. An admin finds the reason in /v2/repository/index."}
    ]
    assert {entry["state"] for entry in index} == {"READY"}
    assert admins[len(index) :] == [
        {"name": "other", "version": "3", "state": "UNAVAILABLE", "reason": why}
    ]
    assert not [text for text in (models, metrics) if str(bad) in text]
    assert "model refused" in caplog.text


async def test_an_unload_lets_requests_in_flight_finish_and_a_load_brings_the_pin_back(
    root: Path, keys: Path
) -> None:
    gate = Gate()
    async with keyed(root, keys) as service:
        await change(service, "other/load", PIN_1)
        models = service.app.state.service.models
        default, models._default = models._default, root / "other/1"
        replace_engine(service.app, gate).start()
        models._default = default
        running = asyncio.create_task(service.client.post(*versions("1"), content=WHITE))
        await gate.has_entered()

        assert await change(service, "other/unload") == (200, "")
        assert (
            await answers(service, "/models/other/predict", *versions("2", "stable")) == [404] * 3
        )
        index = (await service.client.post("/v2/repository/index", headers=ADMIN)).json()
        await reload(service)
        gate.let_through()
        assert (await running).status_code == 200
        assert await change(service, "other/unload") == (200, "")
        assert await change(service, "other/load") == (200, "")
        assert await answers(service, "/models/other/predict", *versions("2", "stable")) == [
            "1",
            "2",
            "1",
        ]

    assert [entry["reason"] for entry in index[-2:]] == ["unloaded"] * 2


async def test_the_default_model_follows_a_pin_and_cannot_be_unloaded(
    root: Path, keys: Path, make_artifact: MakeArtifact
) -> None:
    make_artifact(version="2")
    async with keyed(root, keys) as service:
        assert await answers(service, "/predict") == ["2"]
        await change(service, "tiny/load", {"default_version": 1})
        assert await answers(service, "/predict", "/models/tiny/predict") == ["1", "1"]
        status, why = await change(service, "tiny/unload")

        assert (status, "RESNET_ARTIFACT" in why) == (409, True)
        assert await answers(service, "/predict") == ["1"]


async def test_a_name_never_becomes_a_path(root: Path, keys: Path) -> None:
    names = ["..", "%2e%2e", "..%2fother", "other%2f1", ".", "other%00", "other-image", "%ff%fe"]
    async with keyed(root / "other/..", keys) as service:
        asked = [f"{name}/{what}" for name in [*names, "x" * 5000] for what in ("load", "unload")]
        found = [await change(service, each) for each in asked]

    assert {status for status, _ in found} == {404}
    assert max(len(error) for _, error in found) < 300


async def test_a_config_that_cannot_be_followed_is_refused(root: Path, keys: Path) -> None:
    only_2 = {"version_policy": {"specific": {"versions": [2]}}}
    cases: list[tuple[Any, int, str]] = [
        ({"default_version": 7}, 409, "has no version 7"),
        ({"aliases": {"canary": 9}}, 409, "has no version 9"),
        ({**only_2, "default_version": 1}, 409, "leaves"),
        ({"version_policy": {"specific": {"versions": [4]}}}, 409, "has no version 4"),
        ({"version_policy": {}}, 400, "one of"),
        ({"aliases": {"1": 1}}, 400, "pattern"),
        ({"aliases": {"../2": 1}}, 400, "pattern"),
        ({"default_version": "../1"}, 400, "integer"),
        ({"max_batch_size": 8}, 400, "max_batch_size"),
        ({"unloaded": True}, 400, "unloaded"),
        ("{", 400, "config"),
        ([], 400, "config"),
    ]
    async with keyed(root, keys) as service:
        for config, status, why in cases:
            refused = await change(service, "other/load", config)

            assert (refused[0], why in refused[1]) == (status, True), refused
            assert await answers(service, "/models/other/predict", *versions("1")) == ["2", "1"]


async def test_loads_at_once_come_one_after_another_and_none_while_draining(
    root: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    monkeypatch.setattr(TrialLoad, "__call__", lambda *_: at_once.append(1))
    async with keyed(root, keys) as service:
        wanted = [{"default_version": version} for version in (1, 2, 1, 2, 1)]
        done = await asyncio.gather(*(change(service, "other/load", each) for each in wanted))
        last = await answers(service, "/models/other/predict")
        service.app.state.service.draining = True
        draining = await change(service, "other/unload")

        assert done == [(200, "")] * 5
        assert last == ["1"]
        assert draining[0] == 503
        assert await answers(service, "/models/other/predict") == ["1"]


async def test_all_go_back_if_another_worker_cannot_follow(
    root: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def followed(_: Peers, number: int) -> list[WorkerState]:
        failed = {str(root / "other/2"): "out of memory"}
        return [WorkerState(number, {"other": ["1"]}, failed)]

    async with keyed(root, keys) as service:
        await change(service, "other/load", {"version_policy": {"specific": {"versions": [1]}}})
        monkeypatch.setattr(Peers, "followed", followed)
        status, why = await change(service, "other/load", {"default_version": 2})

        assert (status, "out of memory" in why) == (409, True)
        assert await answers(service, "/models/other/predict", *versions("2")) == ["1", 404]


async def test_nothing_is_loaded_without_an_admins_key_or_a_repository(
    root: Path, keys: Path
) -> None:
    for changes in ({"api_keys_file": None}, {"model_repository": None}):
        async with keyed(root, keys, **changes) as service:
            assert (await change(service, "other/load"))[0] == 501
            assert (await change(service, "other/unload"))[0] == 501


async def test_the_file_of_versions_is_written_followed_and_survives_a_restart(
    root: Path, keys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, paths = tmp_path / "versions.json", ("/models/other/predict", *versions("stable"))
    async with keyed(root, keys, versions_file=file) as service:
        await change(service, "other/load", PIN_1)
    async with keyed(root, keys, versions_file=file) as service:
        assert await answers(service, *paths) == ["1", "1"]
        file.write_text('{"other": {"aliases": {"stable": 2}}}')
        await reload(service)
        assert await answers(service, *paths) == ["2", "2"]
        for content in ('{"other": {"default_version": 9}}', "{", '{"other": {"pin": 1}}'):
            file.write_text(content)
            await reload(service)
            await reload(service)
            assert await answers(service, *paths) == ["2", "2"]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == ["versions refused", *["models not read"] * 4]
    with pytest.raises(StartError, match=r"RESNET_VERSIONS_FILE .* is malformed: `other.pin`"):
        create_app(Settings(artifact=root / "tiny", versions_file=file))


async def test_a_file_of_versions_that_cannot_be_written_refuses_the_load(
    root: Path, keys: Path, tmp_path: Path
) -> None:
    async with keyed(root, keys, versions_file=tmp_path / "missing/versions.json") as service:
        status, why = await change(service, "other/load", PIN_1)

        assert (status, "cannot be written: No such file" in why) == (409, True)
        assert await answers(service, "/models/other/predict", *versions("stable")) == ["2", 404]
