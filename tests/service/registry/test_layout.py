"""How a network is loaded for the cores: one image on one thread first, then measured once."""

from collections.abc import Sequence
from typing import Any

import pytest

from service.inference.engine import Engine
from service.registry import loading
from service.registry.loading import load_classifier, try_artifact
from service.settings import Settings
from tests.service.conftest import MakeArtifact


@pytest.mark.parametrize(
    ("usable", "alone_s", "computing"),
    [(64, 0.0001, 64), (64, 1.0, 63), (2, 0.0001, 2), (2, 1.0, 1)],
)
def test_a_network_is_small_by_one_image_on_one_thread(
    usable: int,
    alone_s: float,
    computing: int,
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[tuple[int, Sequence[int]]] = []

    def note(run: Any, _: object, sizes: Sequence[int]) -> dict[int, float]:
        threads = run.__self__.threads
        measured.append((threads, sizes))
        return {1: alone_s if threads == 1 else 0.001}

    monkeypatch.setattr(loading, "usable_cores", lambda **_: usable)
    monkeypatch.setattr(loading, "measure", note)

    load_classifier(Settings(artifact=make_artifact(), max_batch_size=2))

    assert measured == [(1, (1,)), (computing, (1, 2))]  # all sizes once


@pytest.mark.parametrize(
    ("asked", "which"),
    [
        ({}, []),
        ({"intra_op_threads": 3}, ["RESNET_INTRA_OP_THREADS"]),
        (
            {"intra_op_threads": 1, "concurrent_runs": 2},
            ["RESNET_CONCURRENT_RUNS and RESNET_INTRA_OP_THREADS"],
        ),
    ],
)
def test_settings_of_the_cores_are_ignored_on_cuda_with_a_warning(
    asked: dict[str, Any],
    which: list[str],
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def load(*given: Any, **more: Any) -> Engine:
        engine = load_really(*given, **more)
        engine.provider = "cuda"
        return engine

    load_really = loading.load_engine
    monkeypatch.setattr(loading, "usable_cores", lambda **_: 2)
    monkeypatch.setattr(loading, "load_engine", load)

    cost = load_classifier(Settings(artifact=make_artifact(), **asked)).batcher.cost

    warnings = [each for each in caplog.records if each.getMessage() == "settings ignored"]
    assert [each.__dict__["fields"]["which"] for each in warnings] == which
    assert (cost.instances, cost.threads, cost.inline) == (1, 1, False)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Threads of each engine that is built."""
    threads: list[int] = []
    load_really = loading.load_engine

    def load(*given: Any, **more: Any) -> Engine:
        engine = load_really(*given, **more)
        threads.append(engine.threads)
        return engine

    monkeypatch.setattr(loading, "load_engine", load)
    return threads


def _slow(*_: object) -> dict[int, float]:
    return {1: 100.0}


@pytest.mark.parametrize("usable", [1, 4])
def test_a_model_like_one_that_is_served_is_built_once_and_not_measured_beside_requests(
    usable: int, make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch, engines: list[int]
) -> None:
    monkeypatch.setattr(loading, "usable_cores", lambda **_: usable)
    served = load_classifier(Settings(artifact=make_artifact()))
    engines.clear()
    monkeypatch.setattr(loading, "measure", _slow)

    loaded = load_classifier(Settings(artifact=make_artifact(version="2")), [served])

    before, after = served.batcher.cost, loaded.batcher.cost
    layout = (before.seconds, before.instances, before.threads, before.inline)
    assert (after.seconds, after.instances, after.threads, after.inline) == layout
    assert after is not before
    assert engines == [served.engine.threads]
    assert loaded.info.version == "2"


def test_a_model_of_another_precision_is_measured_for_itself(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = load_classifier(Settings(artifact=make_artifact(), intra_op_threads=1))
    monkeypatch.setattr(loading, "measure", _slow)
    other = make_artifact(version="2", precision="int8")

    loaded = load_classifier(
        Settings(artifact=other, intra_op_threads=1, precision="int8"), [served]
    )

    assert loaded.batcher.cost.seconds == {1: 100.0}


def test_a_trial_builds_one_engine_and_measures_nothing(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch, engines: list[int]
) -> None:
    ran: list[int] = []
    run_really = Engine.run

    def run(self: Engine, images: Any, *more: Any) -> Any:
        ran.append(len(images))
        return run_really(self, images, *more)

    monkeypatch.setattr(loading, "usable_cores", lambda **_: 4)
    monkeypatch.setattr(Engine, "run", run)

    try_artifact(Settings(artifact=make_artifact(), max_batch_size=7))

    assert engines == [1]
    assert ran == [1, 7]  # the golden answer, and the largest batch
