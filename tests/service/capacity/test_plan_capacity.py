"""The command: what it measures on a real service, what it prints, what it refuses."""

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from types import SimpleNamespace

import pytest

from model.artifact.folder import read_manifest
from service.capacity import cli, measurement, plan
from service.capacity.measurement import measure
from service.capacity.service_process import ServiceProcess
from service.capacity.simulation import simulate
from service.errors import StartError
from tests.service.capacity.test_plan import SHIPPED, measured


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["plan-capacity", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.plan_capacity()
    return end.value.code


@pytest.fixture
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing, and simulate little: `test_plan` holds plans to their goals."""
    monkeypatch.setattr(cli, "measure", lambda *_: measured())
    monkeypatch.setattr(plan, "simulate", partial(simulate, requests=500))


def test_a_service_is_measured_with_all_that_a_request_costs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESNET_API_KEYS_FILE", "/nowhere")  # would stand in the way
    monkeypatch.setattr(measurement, "ROUNDS", 1)
    monkeypatch.setattr(measurement, "ROUND_S", 0.02)
    monkeypatch.setattr(measurement, "LONE_S", 0.1)
    image = base64.b64decode(read_manifest(SHIPPED).golden[0].png)

    found = measure({"ARTIFACT": SHIPPED, "MAX_BATCH_SIZE": 4}, image, cores=1)

    assert found.model["name"] == "fashion-mnist"
    assert (found.runners, found.max_batch_size) == (1, 4)
    assert 1e-4 < found.fit.cost.seconds(1) < 0.1
    assert 0 < found.core_share <= 1.1
    assert median(found.stalls) == pytest.approx(0, abs=1e-9)


def test_an_engine_that_takes_no_processor_time_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def on_a_gpu(*_: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(port=1, architecture=lambda: {"model": {"provider": "cuda"}})

    monkeypatch.setattr(measurement, "started", on_a_gpu)

    with pytest.raises(StartError, match="runs on cuda"):
        measure({}, b"", cores=1)


def test_more_cores_than_there_are_cannot_be_measured() -> None:
    with pytest.raises(StartError, match=r"--cores \(=4096\) must be at most"):
        measure({"ARTIFACT": SHIPPED}, b"", cores=4096)


def test_the_reason_of_a_service_that_does_not_start_is_passed_on() -> None:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(["/bin/sh", "-c", "echo error: no model >&2"], stderr=log)
        process.wait()

        with pytest.raises(StartError, match=r"^no model$"):
            ServiceProcess(process, 1, log).wait_until_ready()


@pytest.mark.usefixtures("_measured")
def test_the_plan_is_text_or_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    goal = (str(SHIPPED), "--rate", "1000", "--p99", "40ms")

    assert not run(monkeypatch, *goal)
    assert "replicas" in capsys.readouterr().out
    assert not run(monkeypatch, *goal, "--json", "--price", "1")
    assert json.loads(capsys.readouterr().out)["plan"]["cost_per_million"]["value"] > 0


@pytest.mark.usefixtures("_measured")
@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("--p99", "1ms"), 1, "error: A request takes 6 ms"),
        (("--p99", "40"), 2, "a time with its unit"),
        (("--p99", "40ms", "--image", "nowhere.png"), 1, "error: nowhere.png: No such file"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    reason: str,
) -> None:
    assert run(monkeypatch, str(SHIPPED), "--rate", "1000", *arguments) == code

    assert reason in capsys.readouterr().err
