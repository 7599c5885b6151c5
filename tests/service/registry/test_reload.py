"""A process that changes its model under load: by SIGHUP, and by itself."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import MakeArtifact
from tests.service.images import WHITE
from tests.service.load import load
from tests.service.process import Running, serve_model

Reload = Callable[[Running], None]


@pytest.fixture(params=["SIGHUP", "watch"])
def reloading(
    request: pytest.FixtureRequest, make_artifact: MakeArtifact
) -> Iterator[tuple[Running, Reload]]:
    """A process, and what makes it reload."""
    by_signal = request.param == "SIGHUP"
    settings = {"reload_interval_s": "0" if by_signal else "0.2", "log_format": "json"}

    def reload(running: Running) -> None:
        if by_signal:
            running.process.send_signal(signal.SIGHUP)

    with serve_model(artifact=str(make_artifact().parent), **settings) as running:
        yield running, reload


def version(running: Running) -> str:
    answer = httpx.post(f"{running.url}/predict", content=WHITE).json()
    found: str = answer["model"]["version"]
    return found


def until(condition: Callable[[], bool]) -> None:
    end = time.perf_counter() + 30
    while not condition():
        assert time.perf_counter() < end
        time.sleep(0.05)


def refused(running: Running) -> set[str]:
    """The versions that failed to load, by the log."""
    return set(re.findall(r'"model refused", "folder": "[^"]*/(\d+)"', running.stderr()))


def truncated(folder: Path) -> None:
    (model,) = folder.glob("*.onnx")
    model.write_bytes(model.read_bytes()[:100])


def tampered(folder: Path) -> None:
    (model,) = folder.glob("*.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def test_models_change_under_load_without_a_failed_request(
    reloading: tuple[Running, Reload], make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    running, reload = reloading
    with load(running.port, clients=2) as loads:
        for number, damage in ((2, None), (3, truncated), (4, tampered), (5, None)):
            candidate = make_artifact(version=str(number), name="made")
            if damage is not None:
                damage(candidate)
            candidate.rename(tmp_path / "tiny" / str(number))
            reload(running)
            if damage is None:
                until(lambda wanted=str(number): version(running) == wanted)  # type: ignore[misc]
            else:
                until(lambda wanted=str(number): wanted in refused(running))  # type: ignore[misc]
                assert version(running) == "2"
                # whole: a folder that is half gone is one more candidate to be refused
                (tmp_path / "tiny" / str(number)).rename(tmp_path / f"gone-{number}")
        metrics = httpx.get(f"{running.url}/metrics").text
        running.terminate()
        code = running.process.wait(20)
    written = running.stderr()

    assert code == 0
    assert [each.broken for each in loads] == [[], []]
    assert [set(each.statuses) for each in loads] == [{200}, {200}]
    assert 'resnet_reloads_total{outcome="loaded"} 2.0' in metrics
    assert 'resnet_reloads_total{outcome="refused"} 2.0' in metrics
    assert written.count('"message": "model refused"') == 2
    assert "Traceback" not in written
