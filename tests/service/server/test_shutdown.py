"""The end, where threads hang or none can be started."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from service.threads import started_pool
from tests.service import process
from tests.service.conftest import MakeArtifact
from tests.service.images import BLACK
from tests.service.process import ROOT, serve_model
from tests.service.working import until

NO_THREADS = """
import signal
import threading

def refuse(*_):
    raise RuntimeError("can't start new thread")

def run_out(*_):
    threading.Thread.start = refuse

signal.signal(signal.SIGUSR2, run_out)
"""


def test_sigterm_works_where_no_thread_can_be_started(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_THREADS)
    environment = {**process.environ(), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    monkeypatch.setattr(process, "environ", lambda: environment)
    with serve_model(
        artifact=str(make_artifact()), reload_interval_s="0.1", drain_delay_s="0"
    ) as running:
        os.kill(running.process.pid, signal.SIGUSR2)
        until(lambda: httpx.get(f"{running.url}/livez").status_code == 200)
        answer = httpx.post(f"{running.url}/predict", content=BLACK)
        running.terminate()
        code = running.process.wait(20)
        written = running.stderr()

    assert answer.status_code == 200
    assert code == 0
    assert "reload failed" not in written  # its threads are there from the start


@pytest.mark.parametrize("code", [0, 1])
def test_a_process_whose_thread_never_ends_ends_in_time(code: int) -> None:
    program = (
        "import threading; from concurrent.futures import ThreadPoolExecutor; "
        "from service.server.shutdown import exit_within; "
        f"ThreadPoolExecutor(1).submit(threading.Event().wait); exit_within(0.3, {code})"
    )

    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=20, check=False)

    assert run.returncode == code


def test_a_pool_has_all_its_threads_from_the_start() -> None:
    before = threading.active_count()
    pool = started_pool(3, "some")

    assert threading.active_count() == before + 3
    pool.shutdown()


def test_a_pool_that_cannot_start_a_thread_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    started_pool(2, "some").shutdown(wait=False, cancel_futures=True)

    assert "threads missing" in caplog.text
