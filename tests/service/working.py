"""Several processes on one port, as a client and as the system see them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.service.images import BLACK
from tests.service.process import Running


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end
        time.sleep(0.05)


def ask(running: Running) -> tuple[str, str]:
    """Ask on a fresh connection: which worker answered, and with which version."""
    response = httpx.post(f"{running.url}/predict", content=BLACK)
    assert response.status_code == 200
    worker = response.headers["x-request-id"].partition("-")[0]
    return worker, response.json()["model"]["version"]


def ask_many(running: Running, requests: int = 20) -> set[tuple[str, str]]:
    """Ask several at a time, so that no worker can take all."""
    with ThreadPoolExecutor(4) as threads:
        return set(threads.map(lambda _: ask(running), range(requests)))


def answerers(running: Running, requests: int = 20) -> set[str]:
    return {worker for worker, _ in ask_many(running, requests)}


def workers(running: Running) -> set[int]:
    """The processes of the workers."""
    parent = running.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    }


def total(running: Running, name: str, **labels: str) -> float:
    """A metric of all workers."""
    text = httpx.get(f"{running.url}/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
