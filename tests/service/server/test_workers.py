"""Several processes on one port."""

import contextlib
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from tritonclient.http import InferenceServerClient

from tests.service.conftest import SHIPPED, MakeArtifact
from tests.service.images import BLACK, WHITE
from tests.service.process import Running, run_command, serve_model
from tests.service.served_models import damage
from tests.service.working import answerers, ask_many, total, until, workers

COUNTERS = ("resnet_predictions_total", "resnet_out_of_distribution_total")


@pytest.fixture
def running(make_artifact: MakeArtifact) -> Iterator[Running]:
    artifact = str(make_artifact().parent)
    settings = {
        "workers": "2",
        "drain_delay_s": "0.3",
        "reload_interval_s": "0",
        "log_format": "json",
    }
    with serve_model(artifact=artifact, **settings) as started:
        until(lambda: len(answerers(started)) == 2)
        yield started


def resident_bytes(pid: int) -> int:
    """Of a process, as Linux tells people."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def requests_seen(running: Running) -> float:
    """Requests for predictions that were counted; one is counted just after its answer."""
    return total(running, "resnet_requests_total", route="/predict")


def images_executed(running: Running) -> float:
    return total(running, "resnet_images_executed_total")


def nothing_in_flight(running: Running) -> bool:
    """Whether no worker has work, by a gauge that each one sets a few times a second."""
    return total(running, "resnet_images_in_flight") == 0


def test_metrics_are_of_all_workers_and_sigterm_ends_them_all(running: Running) -> None:
    until(lambda: requests_seen(running) == images_executed(running))
    before = requests_seen(running)
    ask_many(running, 40)
    httpx.post(f"{running.url}/predict", files=[("file", WHITE)] * 5)
    until(lambda: requests_seen(running) == before + 41)

    counts = {requests_seen(running) for _ in range(8)}
    images = images_executed(running)
    until(lambda: nothing_in_flight(running))
    models = total(running, "resnet_model_info", version="1")
    pids = workers(running)
    resident = sum(map(resident_bytes, pids))
    reported = total(running, "resnet_resident_memory_bytes")
    cpu_s = total(running, "resnet_cpu_seconds")
    running.terminate()
    code = running.process.wait(20)

    assert counts == {before + 41}
    assert (images, models) == (before + 45, 1)
    assert reported == pytest.approx(resident, rel=0.1)
    assert 0 < cpu_s < 600
    assert (len(pids), code) == (2, 0)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_images_are_counted_by_all_workers_and_windows_by_none() -> None:
    with serve_model(artifact=str(SHIPPED), workers="2", reload_interval_s="0") as running:
        until(lambda: len(answerers(running)) == 2)
        time.sleep(1)  # each worker counts what it answered a few times a second
        before = [total(running, name) for name in COUNTERS]

        answers = [httpx.post(f"{running.url}/predict", files=[("file", WHITE)] * 5).json()]
        answers += [httpx.post(f"{running.url}/predict", content=BLACK).json() for _ in range(15)]
        results = [result for answer in answers for result in answer["results"]]
        flagged = sum(not result["in_distribution"] for result in results)
        expected = [before[0] + 20, before[1] + flagged]
        until(lambda: [total(running, name) for name in COUNTERS] == expected)
        text = httpx.get(f"{running.url}/metrics").text

    assert before[0] >= 20  # of which each worker answered some
    assert flagged > 0
    assert 'resnet_predictions_total{label="Ankle boot"}' in text
    assert "resnet_window" not in text
    assert "resnet_drift_psi" not in text


def test_lasting_connections_are_dealt_out_to_all_workers(running: Running) -> None:
    with contextlib.ExitStack() as connections:
        clients = [connections.enter_context(httpx.Client()) for _ in range(32)]
        answered = Counter(
            client.post(f"{running.url}/predict", content=BLACK).headers["x-request-id"][:16]
            for client in clients
        )

    assert len(answered) == 2
    assert min(answered.values()) >= 4  # by a fair coin in all but 3 of a million tries


def test_a_killed_worker_is_replaced_and_the_counts_go_on(running: Running) -> None:
    before, pids = requests_seen(running), workers(running)

    os.kill(min(pids), signal.SIGKILL)
    until(lambda: len(workers(running) - pids) == 1)
    until(lambda: len(answerers(running)) == 2)

    assert min(pids) not in workers(running)
    assert requests_seen(running) > before
    until(lambda: nothing_in_flight(running))
    assert '"message": "worker replaced"' in running.stderr()
    running.terminate()
    assert running.process.wait(20) == 0


def test_a_worker_that_cannot_start_leaves_the_others_serving(running: Running) -> None:
    (manifest,) = Path(os.fsdecode(artifact_of(running))).glob("*/manifest.json")
    whole = manifest.read_bytes()
    manifest.write_bytes(b"{}")
    os.kill(min(workers(running)), signal.SIGKILL)
    until(lambda: "manifest.json" in running.stderr())
    time.sleep(1)

    running.process.send_signal(signal.SIGHUP)  # one of the two is not there to receive it
    left = answerers(running)
    manifest.write_bytes(whole)

    assert len(left) == 1
    until(lambda: len(answerers(running)) == 2)


def test_a_worker_that_is_added_is_one_of_ours(running: Running) -> None:
    before = workers(running)

    running.process.send_signal(signal.SIGTTIN)
    until(lambda: len(workers(running)) == 3)
    until(lambda: len(answerers(running, 60)) == 3)
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)

    assert len(workers(running)) == 3
    assert before < workers(running)
    running.terminate()
    assert running.process.wait(20) == 0


def test_sighup_does_not_end_a_worker_that_is_still_importing(running: Running) -> None:
    os.kill(min(workers(running)), signal.SIGKILL)
    until(lambda: '"worker replaced"' in running.stderr())

    running.process.send_signal(signal.SIGHUP)
    until(lambda: len(answerers(running)) == 2)

    assert running.stderr().count('"worker replaced"') == 1


def test_a_dead_worker_comes_back_beside_a_version_that_was_refused(
    running: Running, make_artifact: MakeArtifact
) -> None:
    damage(make_artifact(version="2"))
    running.process.send_signal(signal.SIGHUP)
    until(lambda: total(running, "resnet_reloads_total", outcome="refused") == 2)

    os.kill(min(workers(running)), signal.SIGKILL)
    until(lambda: running.stderr().count('"worker replaced"') == 1)
    until(lambda: len(answerers(running)) == 2, 90)  # it tries both versions aside

    assert {version for _, version in ask_many(running)} == {"1"}


def test_workers_do_not_outlive_their_supervisor(running: Running) -> None:
    left = workers(running)

    running.process.kill()
    running.process.wait()

    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


def artifact_of(running: Running) -> bytes:
    environment = Path(f"/proc/{running.process.pid}/environ").read_bytes()
    found = re.search(rb"RESNET_ARTIFACT=([^\0]*)", environment)
    assert found is not None
    return found[1]


def test_a_load_by_request_reaches_every_worker(
    make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    default, keys, file = make_artifact(), tmp_path / "keys", tmp_path / "versions.json"
    make_artifact(name="other")
    keys.touch(mode=0o600)
    keys.write_text("ops: admin-key admin read predict")
    key = {"x-api-key": "admin-key"}
    file.write_text('{"other": {"unloaded": true}}')
    given = {"artifact": default, "model_repository": default.parents[1], "api_keys_file": keys}
    settings = {name: str(path) for name, path in given.items()}
    settings |= {"versions_file": str(file), "workers": "2", "reload_interval_s": "0"}

    with (
        serve_model(**settings) as running,
        closing(InferenceServerClient(f"127.0.0.1:{running.port}")) as client,
    ):

        def found() -> set[int]:
            """What several requests for the model get from two workers."""
            answers = [
                httpx.post(f"{running.url}/models/other/predict", content=BLACK, headers=key)
                for _ in range(16)
            ]
            started = {each.headers["x-request-id"].partition("-")[0] for each in answers}
            return {each.status_code for each in answers} if len(started) == 2 else set()

        until(lambda: found() == {404})
        client.load_model("other", headers=key, config='{"aliases": {"stable": 1}}')
        loaded = [found() for _ in range(3)]
        index = client.get_model_repository_index(headers=key)
        text = httpx.get(f"{running.url}/metrics", headers=key).text
        client.unload_model("other", headers=key)
        unloaded = [found() for _ in range(3)]

    assert set().union(*loaded) == {200}
    assert {"name": "other", "version": "1", "state": "READY", "reason": ""} in index
    assert 'resnet_reloads_total{outcome="loaded"} 2.0' in text
    assert set().union(*unloaded) == {404}
    assert json.loads(file.read_text()) == {"other": {"aliases": {"stable": 1}, "unloaded": True}}


def test_a_bad_artifact_ends_the_start_with_one_line(make_artifact: MakeArtifact) -> None:
    folder = make_artifact()
    (model,) = folder.glob("*.onnx")
    model.write_bytes(model.read_bytes()[:-1] + b"\0")

    run = run_command(folder, workers="2", port="0")

    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith(f"error: {model} has SHA-256 ")


def test_a_port_that_is_taken_is_one_line_before_a_model_is_loaded(running: Running) -> None:
    began = time.perf_counter()

    run = run_command("no such artifact", port=str(running.port))

    assert run.returncode == 1
    assert re.fullmatch(
        rf"error: Port {running.port} of 127\.0\.0\.1 cannot be used: .*\. Choose another with "
        r"RESNET_PORT or --port\.\n",
        run.stderr,
    )
    assert time.perf_counter() - began < 10
