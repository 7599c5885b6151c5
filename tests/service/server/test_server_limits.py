"""uvicorn in a thread of this process, where its limits can be made short."""

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from service.log import BufferedHandler, TextFormatter, log
from tests.service.conftest import MakeArtifact
from tests.service.listening import REQUEST, Listening, listen, wait_until
from tests.service.process import read_answer, read_response

TIMEOUT_S = 0.4


@pytest.fixture
def listening(make_artifact: MakeArtifact) -> Iterator[Listening]:
    with listen(make_artifact(), max_body_bytes=1_000, header_timeout_s=TIMEOUT_S) as started:
        yield started


def seconds_until_closed(connection: socket.socket, trickle: bytes = b"") -> float:
    """Send a byte now and then; tell when the other side had enough."""
    began = time.perf_counter()
    connection.settimeout(0.05)
    sending = iter(trickle)
    while time.perf_counter() - began < 10:
        try:
            if (byte := next(sending, None)) is not None:
                connection.send(bytes([byte]))
            if connection.recv(65_536) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.perf_counter() - began


@pytest.mark.parametrize(
    "trickle", [b"", b"GET", b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-Header: x\r\n" * 50]
)
def test_headers_that_do_not_arrive_in_time_are_cut_off(
    trickle: bytes, listening: Listening
) -> None:
    with listening.connect() as connection:
        seconds = seconds_until_closed(connection, trickle)

    assert TIMEOUT_S - 0.05 < seconds < TIMEOUT_S + 2


def test_the_headers_of_a_second_request_have_as_long(listening: Listening) -> None:
    listening.gate.let_through()
    with listening.connect() as connection:
        connection.sendall(REQUEST)
        first = read_response(connection)
        time.sleep(0.75 * TIMEOUT_S)
        seconds = seconds_until_closed(connection, b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 50)

    assert first.startswith(b"HTTP/1.1 200 ")
    assert TIMEOUT_S - 0.05 < seconds < TIMEOUT_S + 2


def test_an_idle_connection_may_be_used_again(listening: Listening) -> None:
    listening.gate.let_through(2)
    with listening.connect() as connection:
        connection.sendall(REQUEST)
        first = read_response(connection)
        time.sleep(1.5 * TIMEOUT_S)
        connection.sendall(REQUEST)
        second = read_response(connection)

    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 200 ")


def test_a_body_may_take_longer_than_the_headers(listening: Listening) -> None:
    listening.gate.let_through()
    with listening.connect() as connection:
        connection.sendall(REQUEST[:-10])
        time.sleep(1.5 * TIMEOUT_S)
        connection.sendall(REQUEST[-10:])

        assert read_response(connection).startswith(b"HTTP/1.1 200 ")


def test_an_answer_may_take_longer_than_the_headers(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(REQUEST)
        time.sleep(1.5 * TIMEOUT_S)
        listening.gate.let_through()

        assert read_response(connection).startswith(b"HTTP/1.1 200 ")


def test_the_rest_of_a_refused_body_cannot_trickle_for_ever(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
        answer = read_response(connection)
        seconds = seconds_until_closed(connection, b"x" * 200)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert seconds < TIMEOUT_S + 2


def test_a_client_that_leaves_is_forgotten(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(b"GET")
        wait_until(lambda: len(listening.server.server_state.connections) == 1)

    wait_until(lambda: len(listening.server.server_state.connections) == 0)


def test_a_request_under_way_is_answered_before_the_end(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(REQUEST)
        assert listening.gate.entered.acquire(timeout=10)
        listening.server.handle_exit(signal.SIGTERM, None)
        listening.server.handle_exit(signal.SIGINT, None)
        time.sleep(0.3)
        listening.gate.let_through()
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_signal_waits_for_no_lock_that_its_own_thread_may_hold(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    handler = BufferedHandler()
    handler.setFormatter(TextFormatter())
    monkeypatch.setattr(log, "handlers", [handler])
    caplog.set_level(logging.INFO, "service")
    term = threading.Thread(
        target=listening.server.handle_exit, args=(signal.SIGTERM, None), daemon=True
    )

    with handler._buffer_lock:  # like a signal within a line
        term.start()
        term.join(5)
        has_returned = not term.is_alive()

    assert has_returned
