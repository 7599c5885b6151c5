"""What a connection may hold and do beside ordinary requests, over real sockets."""

import http.client
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.service.conftest import MakeArtifact
from tests.service.images import BLACK
from tests.service.listening import HEAD, REQUEST, Listening, listen, wait_until
from tests.service.process import read_answer

LAST = REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
LARGE = b"\0" * 100_000


@pytest.fixture
def listening(make_artifact: MakeArtifact) -> Iterator[Listening]:
    with listen(make_artifact()) as started:
        yield started


def disconnects(listening: Listening) -> float:
    registry = listening.server.state.telemetry.registry
    found = registry.get_sample_value(
        "resnet_request_failures_total", {"code": "client_disconnected"}
    )
    return found or 0.0


@pytest.mark.parametrize(
    "offer",
    [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    ],
)
@pytest.mark.parametrize("pause_s", [0.0, 0.1])
def test_an_offer_to_speak_another_protocol_is_passed_over(
    offer: str, pause_s: float, listening: Listening
) -> None:
    listening.gate.let_through(2)
    with listening.connect() as connection:
        connection.sendall((HEAD + offer).encode() + b"\r\n")
        time.sleep(pause_s)
        connection.sendall(BLACK)
        first = http.client.HTTPResponse(connection)
        first.begin()
        body = first.read()
        connection.sendall(LAST)
        second = read_answer(connection)

    assert first.status == 200
    assert b'"dark"' in body
    assert second.startswith(b"HTTP/1.1 200 ")
    assert listening.gate.batches == [[0], [0]]


def test_a_body_is_never_read_as_the_next_request(listening: Listening) -> None:
    body = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with listening.connect() as connection:
        connection.sendall(head.encode() + body)
        time.sleep(0.2)
        connection.shutdown(socket.SHUT_WR)
        answer = read_answer(connection)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 422 ")


def test_a_tunnel_is_refused_and_what_follows_is_not_read(listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + LAST)
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert listening.gate.batches == []


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"xxxxxxx"),
        (b"GET /livez HTTP/1.1\r\nX-Header: ", b"xxxxxxx"),
        (b"GET /livez HTTP/1.1\r\n", b"X: y\r\n"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 10])
def test_a_head_that_is_too_long_is_told_so(
    start: bytes, more: bytes, pieces: int, listening: Listening
) -> None:
    with listening.connect() as connection:
        connection.sendall(start)
        for _ in range(pieces):
            connection.sendall(20_000 // pieces * more)
            time.sleep(0.01)
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"more than 65,536 bytes beside its body" in answer


def test_a_head_right_behind_a_large_body_is_not_too_long(listening: Listening) -> None:
    listening.gate.let_through(3)
    padded = BLACK + LARGE
    head = HEAD.replace(f"Content-Length: {len(BLACK)}", f"Content-Length: {len(padded)}")
    request = head.encode() + b"\r\n" + padded
    with listening.connect() as connection:
        connection.sendall(request + request + LAST[:40])
        time.sleep(0.2)
        connection.sendall(LAST[40:])
        answer = read_answer(connection)

    assert answer.count(b"HTTP/1.1 200 ") == 3


def test_trailers_without_end_are_cut_off(listening: Listening) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with listening.connect() as connection:
        connection.sendall(head + b"1\r\nx\r\n0\r\n")
        for _ in range(200):
            try:
                connection.sendall(b"X-Trailer: " + b"x" * 1_000 + b"\r\n")
            except OSError:
                break
        wait_until(lambda: not listening.server.server_state.connections)


def test_a_large_body_is_not_overhead(listening: Listening) -> None:
    with listening.connect() as connection:
        head = HEAD.replace(f"{len(BLACK)}", f"{5_000_000}") + "Connection: close\r\n\r\n"
        connection.sendall(head.encode() + 5_000_000 * b"x")
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 422 ")


def test_who_leaves_after_a_large_last_chunk_is_noticed(
    listening: Listening,
) -> None:
    padded = BLACK + LARGE  # Pillow does not read what follows a PNG's end
    head = HEAD.replace(f"Content-Length: {len(BLACK)}", f"Content-Length: {len(padded)}")
    with listening.connect() as running:
        running.sendall(REQUEST)
        assert listening.gate.entered.acquire(timeout=10)
        with listening.connect() as leaving:
            leaving.sendall(head.encode() + b"\r\n")
            time.sleep(0.1)
            leaving.sendall(padded)
            wait_until(lambda: listening.admission.in_flight == 2)
        wait_until(lambda: disconnects(listening) == 1)

    assert listening.gate.batches == [[0]]


def test_the_reason_arrives_though_the_body_was_not_read(listening: Listening) -> None:
    for size in (200_000, 5_000_000):
        client = http.client.HTTPConnection("127.0.0.1", listening.port, timeout=10)
        headers = {"Content-Type": "text/x", "Connection": "close"}
        client.request("POST", "/predict", size * b"x", headers)
        answer = client.getresponse()
        answer.read()

        assert answer.status == 415


def test_a_client_that_never_stops_sending_is_left(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server.closing.LINGER_S", 0.3)
    head = b"POST /predict HTTP/1.0\r\nContent-Type: text/x\r\nContent-Length: 900000000\r\n\r\n"
    with listening.connect() as connection:
        connection.sendall(head)
        sending = iter(partial(send, connection), False)
        assert sum(1 for _ in sending) < 900

    wait_until(lambda: not listening.server.server_state.connections)


def send(connection: socket.socket) -> bool:
    """Send some more; False once it is not accepted."""
    time.sleep(0.01)
    try:
        connection.sendall(b"x" * 10_000)
    except OSError:
        return False
    return True


def test_refusals_wait_for_a_client_that_does_not_read(
    make_artifact: MakeArtifact,
) -> None:
    with listen(make_artifact(), max_in_flight=1, max_images=1) as full, full.connect() as running:
        running.sendall(REQUEST)
        wait_until(lambda: full.admission.in_flight == 1)
        with full.connect() as deaf:
            deaf.setblocking(False)
            sent = 0
            until = time.perf_counter() + 3
            while time.perf_counter() < until and sent < 80_000_000:
                try:
                    sent += deaf.send(200 * REQUEST)
                except BlockingIOError:
                    time.sleep(0.05)
            waiting = [
                each.transport.get_write_buffer_size()
                for each in full.server.server_state.connections
            ]

    assert sent > 100_000
    assert max(waiting) < 1_000_000
