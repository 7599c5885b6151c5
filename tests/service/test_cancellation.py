"""Clients that leave while they wait, over real sockets: their work is not done."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.conftest import MakeArtifact
from tests.service.listening import REQUEST, Listening, listen, wait_until
from tests.service.process import read_answer

CLIENTS = 100
LAST = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


@pytest.fixture
def listening(make_artifact: MakeArtifact) -> Iterator[Listening]:
    with listen(make_artifact()) as started:
        yield started


def count(listening: Listening, name: str, labels: dict[str, str] | None = None) -> float:
    registry = listening.server.state.telemetry.registry
    value: float | None = registry.get_sample_value(name, labels or {})
    return value or 0


def test_clients_that_leave_while_they_wait_are_never_run(listening: Listening) -> None:
    batcher, admission = listening.batcher, listening.admission
    with listening.connect() as running, listening.connect() as waiting:
        running.sendall(LAST)
        assert listening.gate.entered.acquire(timeout=10)
        with contextlib.ExitStack() as leaving:
            for _ in range(CLIENTS):
                leaving.enter_context(listening.connect()).sendall(REQUEST)
            wait_until(lambda: admission.in_flight == 1 + CLIENTS)
            waiting.sendall(LAST)
            wait_until(lambda: admission.in_flight == 2 + CLIENTS)
        wait_until(lambda: admission.in_flight == 2)

        listening.gate.let_through(2 + CLIENTS)
        answers = [read_answer(running), read_answer(waiting)]

    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert len(listening.gate.batches) == batcher.executed == 2
    assert count(listening, "resnet_images_executed_total") == 2
    assert (
        count(listening, "resnet_request_failures_total", {"code": "client_disconnected"})
        == CLIENTS
    )


def test_images_of_a_disconnected_client_take_no_memory(listening: Listening) -> None:
    with listening.connect() as running:
        running.sendall(REQUEST)
        assert listening.gate.entered.acquire(timeout=10)
        with listening.connect() as leaving:
            leaving.sendall(REQUEST)
            wait_until(lambda: listening.batcher.queued() == 1)
            runner: Any = listening.batcher._runner
            request, _ = runner._queue.get()  # nothing else shows it
            assert len(request.images) == 1
        wait_until(lambda: listening.admission.in_flight == 1)

    assert len(request.images) == 0


def test_a_client_that_leaves_within_its_body_holds_no_place(listening: Listening) -> None:
    with listening.connect() as leaving:
        leaving.sendall(REQUEST[:-5])
        wait_until(lambda: len(listening.server.server_state.connections) == 1)

    code = {"code": "client_disconnected"}
    wait_until(lambda: count(listening, "resnet_request_failures_total", code) == 1)
    assert listening.admission.in_flight == 0
    assert listening.gate.batches == []
