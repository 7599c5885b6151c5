"""The benchmark that holds plans against real servers: what it sends, and how it judges."""

import json
import socket
import threading
from typing import Any, cast

import numpy as np
import pytest

from benchmarks import plan
from benchmarks.poisson import arrivals, send

ROW = {
    "per_second": 100.0,
    "p99_ms": 11.0,
    "predicted_p99_ms": 10.0,
    "mean_ms": 2.0,
    "predicted_mean_ms": 2.0,
    "not_answered": 0.0,
    "others": 0.0,
    "late_p99_ms": 0.1,
}


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({}, "met"),
        ({"p99_ms": 13.0}, "missed"),
        ({"not_answered": 0.01}, "missed"),
        ({"p99_ms": 30.0, "others": 0.5}, "disturbed"),
    ],
)
def test_a_row_is_judged_by_its_p99_unless_others_had_the_cores(
    monkeypatch: pytest.MonkeyPatch, seen: dict[str, float], verdict: str
) -> None:
    monkeypatch.setattr(plan, "one_round", lambda *_, **__: ROW | seen)
    monkeypatch.setattr(plan.System, "of", lambda _: None)

    found = plan.rows([cast(Any, None)], 1)

    assert [row["verdict"] for row in found] == 3 * [verdict]
    assert json.loads(json.dumps(found)) == found


def test_requests_leave_at_their_moments_to_the_servers_in_turn() -> None:
    served = [0, 0]

    def answer(listener: socket.socket, number: int) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            threading.Thread(target=echo, args=(connection, number), daemon=True).start()

    def echo(connection: socket.socket, number: int) -> None:
        with connection:
            while connection.recv(1024):
                served[number] += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in served]
    for number, listener in enumerate(listeners):
        threading.Thread(target=answer, args=(listener, number), daemon=True).start()
    due = arrivals(200, 0.2, seed=1)

    answers = send([listener.getsockname()[1] for listener in listeners], b"GET", due)

    for listener in listeners:
        listener.close()
    assert answers.statuses == {200: 40}
    assert served == [20, 20]
    assert min(answers.late) >= 0
    assert np.all(np.array(answers.latencies) > 0)
