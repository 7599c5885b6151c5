"""Connections on which no request is in flight end in time, over real sockets."""

import gc
import time
import weakref
from collections.abc import Iterator

import pytest

from tests.service.conftest import MakeArtifact
from tests.service.images import BLACK
from tests.service.listening import HEAD, REQUEST, Listening, listen, wait_until
from tests.service.process import read_answer, read_response

IDLE_S = 0.4
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def listening(make_artifact: MakeArtifact) -> Iterator[Listening]:
    with listen(
        make_artifact(),
        max_in_flight=1,
        max_images=1,
        max_body_bytes=1_000,
        keep_alive_timeout_s=IDLE_S,
    ) as started:
        yield started


def test_an_empty_line_after_an_answer_keeps_no_connection_open(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(LIVEZ)
        answer = read_response(connection)
        connection.sendall(b"\r\n")
        connection.settimeout(IDLE_S + 2)
        rest = connection.recv(1)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert rest == b""


def test_empty_lines_now_and_then_buy_no_time(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(LIVEZ)
        read_response(connection)
        connection.settimeout(IDLE_S / 4)
        began = time.perf_counter()
        while (waited_s := time.perf_counter() - began) < 10:
            try:
                connection.sendall(b"\r\n")
                assert connection.recv(1) == b""
                break
            except TimeoutError:
                continue
            except OSError:  # it was closed before this empty line
                break

    assert waited_s < IDLE_S + 2


@pytest.mark.parametrize(
    ("line", "length", "status"),
    [
        ("POST /predict HTTP/1.1\r\nContent-Type: text/x", 9, 415),
        ("POST /predict HTTP/1.1", 1001, 413),
        ("POST /nothing HTTP/1.1", 9, 404),
    ],
)
def test_a_body_behind_its_answer_keeps_no_connection_open(
    line: str, length: int, status: int, listening: Listening
) -> None:
    head = f"{line}\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    with listening.connect() as connection:
        connection.sendall(head.encode())
        answer = read_response(connection)
        connection.sendall(b"x" * length)
        connection.settimeout(IDLE_S + 2)
        rest = connection.recv(1)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert rest == b""


def test_a_body_behind_a_refusal_keeps_no_connection_open(listening: Listening) -> None:
    with listening.connect() as running, listening.connect() as connection:
        running.sendall(REQUEST)
        wait_until(lambda: listening.admission.in_flight == 1)
        connection.sendall(HEAD.encode() + b"\r\n")
        answer = read_response(connection)
        connection.sendall(BLACK)
        connection.settimeout(IDLE_S + 2)
        rest = connection.recv(1)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert rest == b""


def test_after_such_a_body_there_is_time_for_another_request(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        read_response(connection)
        time.sleep(0.75 * IDLE_S)
        connection.sendall(b"x")
        time.sleep(0.75 * IDLE_S)
        connection.sendall(b"x")
        time.sleep(0.5 * IDLE_S)
        connection.sendall(LIVEZ)
        answer = read_response(connection)

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_request_right_behind_a_refused_one_is_not_idle(listening: Listening) -> None:
    refused = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx"
    last = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    with listening.connect() as connection:
        connection.sendall(refused + last)
        wait_until(lambda: listening.admission.in_flight == 1)
        time.sleep(2 * IDLE_S)
        listening.gate.let_through()
        answers = read_answer(connection)

    assert answers.startswith(b"HTTP/1.1 404 ")
    assert answers.count(b"HTTP/1.1 200 ") == 1


def test_nothing_of_a_lost_connection_waits_for_the_garbage_collector(listening: Listening) -> None:
    gc.disable()
    try:
        with listening.connect() as connection:
            connection.sendall(LIVEZ)
            read_response(connection)
            (protocol,) = listening.server.server_state.connections
            lost = weakref.ref(protocol)
            del protocol
        wait_until(lambda: lost() is None)
    finally:
        gc.enable()
