"""How a network is loaded for the cores: looked at on one thread first, measured once."""

from collections.abc import Sequence
from typing import Any

import pytest

from service import loading
from service.engine import Engine
from service.loading import load_classifier
from service.plan import Plan
from service.settings import Settings
from tests.service.conftest import MakeArtifact


@pytest.mark.parametrize(
    ("usable", "alone_s", "computing"),
    [(64, 0.0001, 64), (64, 1.0, 63), (2, 0.0001, 2), (2, 1.0, 1)],
)
def test_a_network_is_small_by_one_picture_on_one_thread(
    usable: int,
    alone_s: float,
    computing: int,
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[tuple[int, Sequence[int]]] = []

    def note(run: Any, _: object, sizes: Sequence[int]) -> Plan:
        threads = run.__self__.threads
        measured.append((threads, sizes))
        return Plan({1: alone_s if threads == 1 else 0.001})

    monkeypatch.setattr(loading, "usable_cores", lambda: usable)
    monkeypatch.setattr(loading, "measure", note)

    load_classifier(Settings(artifact=make_artifact(), max_batch_size=2))

    assert measured == [(1, (1,)), (computing, (1, 2))]  # all sizes once


@pytest.mark.parametrize(
    ("asked", "which"),
    [
        ({}, []),
        ({"threads": 3}, ["RESNET_THREADS"]),
        ({"threads": 1, "instances": 2}, ["RESNET_INSTANCES and RESNET_THREADS"]),
    ],
)
def test_what_is_asked_of_the_cores_is_passed_over_on_cuda_with_a_warning(
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
    monkeypatch.setattr(loading, "usable_cores", lambda: 2)
    monkeypatch.setattr(loading, "load_engine", load)

    plan = load_classifier(Settings(artifact=make_artifact(), **asked)).batcher.plan

    warnings = [each for each in caplog.records if each.getMessage() == "passed over"]
    assert [each.__dict__["fields"]["which"] for each in warnings] == which
    assert (plan.instances, plan.threads, plan.on_loop) == (1, 1, False)
