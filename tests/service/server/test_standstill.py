"""A stalled worker is replaced by its supervisor."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import process
from tests.service.conftest import MakeArtifact
from tests.service.process import Running, serve_model
from tests.service.working import answerers, until, workers

HOLD_UP = """
import service.server.server
import signal
import time

service.server.server.STALL_TIMEOUT_S = 2
signal.signal(signal.SIGUSR2, lambda *_: time.sleep(120))
"""


@pytest.fixture
def running(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """Two workers whose event loops stall on SIGUSR2, with short timeouts."""
    (tmp_path / "sitecustomize.py").write_text(HOLD_UP)
    environment = {**process.environ(), "PYTHONPATH": f"{tmp_path}:{process.ROOT}"}
    monkeypatch.setattr(process, "environ", lambda: environment)
    artifact = str(make_artifact().parent)
    with serve_model(
        artifact=artifact, workers="2", reload_interval_s="0", log_format="json"
    ) as started:
        until(lambda: len(answerers(started)) == 2)
        yield started


def test_a_worker_whose_event_loop_stands_still_is_replaced(running: Running) -> None:
    pids = workers(running)

    os.kill(min(pids), signal.SIGUSR2)
    until(lambda: len(workers(running) - pids) == 1)
    until(lambda: len(answerers(running)) == 2)

    assert min(pids) not in workers(running)
    assert running.stderr().count('"message": "worker replaced"') == 1
