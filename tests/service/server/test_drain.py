"""SIGTERM under load: every request that was accepted is answered."""

import http.client
import signal
import socket
import sys
import time

import httpx
import pytest

from service.app import create_app
from service.server.listen import bind, drop_new_connections
from service.server.server import Server, configure
from service.settings import Settings
from tests.service.conftest import MakeArtifact
from tests.service.images import BLACK
from tests.service.listening import REQUEST, listen, wait_until
from tests.service.load import load
from tests.service.process import Running, read_answer, serve_model

ROUNDS = 3


def wait_for_the_drain(running: Running) -> httpx.Response:
    """Ask until it is no longer ready; the answer that says so."""
    until = time.perf_counter() + 10
    while (ready := httpx.get(f"{running.url}/readyz")).status_code == 200:
        assert time.perf_counter() < until
        time.sleep(0.02)
    return ready


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_no_request_is_lost_when_it_ends_under_load(
    workers: int, number: int, make_artifact: MakeArtifact
) -> None:
    settings = {"artifact": str(make_artifact()), "workers": str(workers), "reload_interval_s": "0"}
    with serve_model(drain_delay_s="0.8", **settings) as running:
        with load(running.port) as loads:
            time.sleep(0.3 + 0.07 * number)
            running.terminate()
            draining = wait_for_the_drain(running)
            running.terminate()  # a second signal changes nothing
            code = running.process.wait(20)
        written = running.stderr()

    assert code == 0
    assert [each.broken for each in loads] == [[], []]
    assert [set(each.statuses) for each in loads] == [{200}, {200}]
    assert min(each.refused for each in loads) > 0  # they did ask until the end
    assert draining.json()["code"] == "not_ready"
    assert draining.headers["connection"] == "close"
    assert "Traceback" not in written


def test_connections_that_nobody_accepted_yet_are_accepted_at_the_end(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[socket.socket] = []

    def with_late_ones(sock: socket.socket) -> None:  # the moment before it is the test
        while len(late) < 5:  # the event loop is busy here, so they wait in the kernel
            late.append(socket.create_connection(sock.getsockname(), timeout=10))
            late[-1].sendall(REQUEST)
        drop_new_connections(sock)

    monkeypatch.setattr("service.server.accepting.drop_new_connections", with_late_ones)
    with listen(make_artifact()) as listening:
        listening.gate.let_through(9)
        listening.server.should_exit = True
        wait_until(lambda: len(late) == 5)
        answers = [read_answer(connection) for connection in late]
    for connection in late:
        connection.close()

    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)


@pytest.mark.parametrize("after_s", [0.05, 0.6])
def test_a_caller_that_is_slow_to_begin_is_answered_at_the_end(
    after_s: float, make_artifact: MakeArtifact
) -> None:
    with listen(make_artifact()) as listening, listening.connect() as late:
        listening.gate.let_through(1)
        listening.server.should_exit = True
        wait_until(lambda: not listening.server.servers[0].is_serving())
        time.sleep(after_s)
        late.sendall(REQUEST)
        answer = read_answer(late)

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filter is Linux's")
def test_a_caller_whose_handshake_is_half_done_is_answered_at_the_end(
    make_artifact: MakeArtifact,
) -> None:
    with listen(make_artifact()) as listening, socket.socket() as late:
        listening.gate.let_through(1)
        late.settimeout(10)
        # open for the client; the server learns of it with the first bytes, or in 0.2 s
        late.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        late.connect(("127.0.0.1", listening.port))
        listening.server.should_exit = True
        wait_until(lambda: not listening.server.servers[0].is_serving())
        late.sendall(REQUEST)
        answer = read_answer(late)

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("pause_s", [0.05, 0.6])
def test_a_client_that_asked_a_moment_ago_may_ask_once_more_at_the_end(
    pause_s: float, make_artifact: MakeArtifact
) -> None:
    with listen(make_artifact()) as listening:
        listening.gate.let_through(2)
        client = http.client.HTTPConnection("127.0.0.1", listening.port, timeout=10)
        first = ask(client)
        listening.server.handle_exit(signal.SIGTERM, None)
        wait_until(lambda: not listening.server.servers[0].is_serving())
        time.sleep(pause_s)
        last = ask(client)

    assert (first.status, first.will_close) == (200, False)
    assert (last.status, last.will_close) == (200, True)


def test_a_body_that_is_still_coming_in_at_the_end_has_its_time(
    make_artifact: MakeArtifact,
) -> None:
    with listen(make_artifact(), deadline_s=0.9) as listening, listening.connect() as slow:
        listening.gate.let_through(1)
        slow.sendall(REQUEST[:-10])
        wait_until(lambda: listening.server.server_state.tasks != set())
        listening.server.handle_exit(signal.SIGTERM, None)
        wait_until(lambda: not listening.server.servers[0].is_serving())
        time.sleep(2)  # longer than a deadline and all that comes before it
        slow.sendall(REQUEST[-10:])
        answer = read_answer(slow)

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_the_end_waits_for_a_body_and_then_for_its_deadline() -> None:
    config = configure(Settings(deadline_s=2.5), "service.app:worker_app", factory=True)

    assert config.timeout_graceful_shutdown == 30 + 3 + 1


def test_a_body_that_comes_too_late_for_the_end_is_told_so(make_artifact: MakeArtifact) -> None:
    with listen(make_artifact(), deadline_s=0.1) as listening, listening.connect() as slow:
        listening.server.config.timeout_graceful_shutdown = 2
        slow.sendall(REQUEST[:-10])
        time.sleep(0.1)
        listening.server.handle_exit(signal.SIGTERM, None)
        answer = read_answer(slow)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"not_ready"' in answer
    assert b"Send it elsewhere" in answer
    assert b"x-request-id" in answer


def ask(client: http.client.HTTPConnection) -> http.client.HTTPResponse:
    client.request("POST", "/predict", BLACK)
    answer = client.getresponse()
    answer.read()
    return answer


def test_one_that_never_begins_does_not_hold_up_the_end(make_artifact: MakeArtifact) -> None:
    with listen(make_artifact()) as listening, listening.connect() as silent:
        began = time.perf_counter()
        listening.server.should_exit = True
        assert read_answer(silent) == b""
        waited_s = time.perf_counter() - began

    assert waited_s < 10


def test_a_worker_that_is_told_to_end_while_it_loads_leaves_the_port_to_the_others(
    make_artifact: MakeArtifact,
) -> None:
    settings = Settings(artifact=make_artifact(), port=0, reload_interval_s=0)
    with bind(settings) as [sock]:
        server = Server(configure(settings, create_app(settings)))
        server.handle_exit(15, None)
        server.run([sock])
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)

    assert not server.started
    assert not listens


def test_a_signal_before_there_is_an_application_ends_it_quietly() -> None:
    server = Server(configure(Settings(), "service.app:worker_app", factory=True))

    server.handle_exit(15, None)

    assert server.should_exit
