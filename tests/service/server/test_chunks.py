"""Bodies in chunks, whole and broken, over real sockets."""

import logging
import socket
import time
from collections.abc import Iterator

import pytest

from tests.service.conftest import MakeArtifact
from tests.service.images import BLACK
from tests.service.listening import REQUEST, Listening, listen, wait_until
from tests.service.process import read_answer, read_response

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ELSEWHERE = HEAD.replace(b"/predict", b"/nothing")


@pytest.fixture
def listening(make_artifact: MakeArtifact) -> Iterator[Listening]:
    with listen(make_artifact()) as started:
        yield started


def chunked(body: bytes, size: int) -> bytes:
    """Cut a body into chunks; the last one, which ends it, is missing."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def send(connection: socket.socket, data: bytes) -> None:
    """Send as much as is taken: the other side may end first."""
    try:
        connection.sendall(data)
    except OSError:
        return


def test_a_long_upload_in_small_chunks_is_answered(listening: Listening) -> None:
    listening.gate.let_through()
    padded = BLACK + bytes(6_000_000)  # Pillow does not read what follows a PNG's end
    with listening.connect() as connection:
        connection.sendall(HEAD.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        connection.sendall(chunked(padded, 512) + b"0\r\n\r\n")
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "frames", [chunked(bytes(50_000), 1), b"1;" + 70_000 * b"x" + b"\r\nx\r\n"]
)
def test_frames_that_outweigh_the_body_are_told_so(frames: bytes, listening: Listening) -> None:
    with listening.connect() as connection:
        send(connection, HEAD + frames)
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"bytes beside its body, plus one for every 8 of the body" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
@pytest.mark.parametrize("broken", [b"zz\r\n", b"3\r\nabcd\r\n", b"f" * 20 + b"\r\n"])
def test_a_broken_chunk_is_told_so(broken: bytes, pause_s: float, listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(HEAD + chunked(b"abc", 3))
        time.sleep(pause_s)
        connection.sendall(broken)
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Invalid HTTP request" in answer


@pytest.mark.parametrize("more", [b"zz\r\n", chunked(bytes(50_000), 1)])
def test_an_answered_request_is_not_answered_again(more: bytes, listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(ELSEWHERE)
        first = read_response(connection)
        send(connection, more)
        rest = read_answer(connection)

    assert first.startswith(b"HTTP/1.1 404 ")
    assert rest == b""


@pytest.mark.parametrize("more", [b"nonsense\r\n\r\n", ELSEWHERE + b"zz\r\n"])
def test_a_request_before_a_broken_one_is_answered_first(
    more: bytes, listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with listening.connect() as connection:
        connection.sendall(REQUEST)
        assert listening.gate.entered.acquire(timeout=10)
        connection.sendall(more)
        listening.gate.let_through()
        answer = read_answer(connection)
        wait_until(lambda: not listening.server.server_state.tasks)

    first, _, second = answer.removeprefix(b"HTTP/1.1 ").partition(b"HTTP/1.1 ")
    assert first.startswith(b"200 ")
    assert second.startswith((b"400 ", b"404 "))
    assert b"HTTP/1.1 " not in second
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
