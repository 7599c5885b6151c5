"""New clients while the event loop is busy."""

import contextlib
import time

from tests.service.conftest import MakeArtifact
from tests.service.listening import listen
from tests.service.process import read_answer

CLIENTS = 64
BUSY_S = 0.05
REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_many_new_clients_are_accepted_in_few_iterations_of_a_busy_loop(
    make_artifact: MakeArtifact,
) -> None:
    with listen(make_artifact()) as listening, contextlib.ExitStack() as clients:
        loop = listening.server.servers[0].get_loop()
        iterations: list[float] = []
        is_busy = True

        def work() -> None:
            time.sleep(BUSY_S)
            iterations.append(time.perf_counter())
            if is_busy:
                loop.call_soon(work)

        loop.call_soon_threadsafe(work)
        connections = [clients.enter_context(listening.connect()) for _ in range(CLIENTS)]
        for connection in connections:
            connection.sendall(REQUEST)
        before = len(iterations)
        answers = [read_answer(connection) for connection in connections]
        taken = len(iterations) - before
        is_busy = False

    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert taken < CLIENTS / 2
