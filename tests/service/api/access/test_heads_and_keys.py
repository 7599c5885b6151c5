"""Heads that break the rules of HTTP or are too large, where a key is needed: over real sockets."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.api.access.conftest import KEY
from tests.service.conftest import MakeArtifact
from tests.service.listening import Listening, listen, wait_until
from tests.service.process import read_answer

WITH_KEY = f"X-API-Key: {KEY}".encode()
LARGE = 70_000 * b"x"
CARD = b"GET /card HTTP/1.1\r\nHost: x\r\n"
CHUNKED = CARD + b"Transfer-Encoding: chunked\r\n\r\n"
PIPELINED = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + CARD
UNREADABLE = {
    "large bearer": CARD + b"Authorization: Bearer " + LARGE + b"\r\n\r\n",
    "large key behind a valid one": CARD + WITH_KEY + b"\r\nX-API-Key: " + LARGE + b"\r\n\r\n",
    "large name": CARD + LARGE + b": x\r\n\r\n",
    "many fields": CARD + 7_000 * b"Cookie: a\r\n" + b"\r\n",
    "many short fields, a key among them": CARD + WITH_KEY + b"\r\n" + 2_000 * b"a:b\r\n" + b"\r\n",
    "large URL": b"GET /card?" + LARGE + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "large path of a route without key": b"GET /livez/" + LARGE + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "large chunk extension": CHUNKED + b"1;" + LARGE + b"\r\nx\r\n0\r\n\r\n",
    "large trailer": CHUNKED + b"0\r\n" + WITH_KEY + b"\r\nX: " + LARGE + b"\r\n\r\n",
    "small trailer": CHUNKED + b"0\r\n" + WITH_KEY + b"\r\n\r\n",
    "broken chunk": CHUNKED + b"zz\r\n",
    "large, and not first": PIPELINED + b"X: " + LARGE + b"\r\n\r\n",
    "broken body, and not first": PIPELINED + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no host": b"GET /card HTTP/1.1\r\n\r\n",
    "two hosts": CARD + b"Host: x\r\n\r\n",
    "host with a path": b"GET /card HTTP/1.1\r\nHost: x/livez\r\n\r\n",
    "no path": b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
    "path beyond ASCII": b"GET /card\xe9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "control character": CARD + b"X-API-Key: a\x01\r\n\r\n",
    "two lengths": CARD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "another coding": CARD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "another version": b"GET /card HTTP/2.0\r\nHost: x\r\n\r\n",
    "another method": b"FETCH /card HTTP/1.1\r\nHost: x\r\n\r\n",
    "tunnel": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.fixture
def keyed_server(make_artifact: MakeArtifact, keys: Path) -> Iterator[Listening]:
    with listen(make_artifact(), api_keys_file=keys, keep_alive_timeout_s=0.2) as listening:
        yield listening


def ask(listening: Listening, request: bytes, piece: int = 0, *, ends: bool = False) -> bytes:
    with listening.connect() as connection:
        for start in range(0, len(request), piece or len(request)):
            connection.sendall(request[start : start + (piece or len(request))])
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return read_answer(connection)


def test_a_head_that_cannot_be_read_to_its_end_gets_401(keyed_server: Listening) -> None:
    asked = {
        (name, piece): (UNREADABLE[name], piece) for name in UNREADABLE for piece in (0, 7_000)
    }

    answers = {case: ask(keyed_server, *each) for case, each in asked.items()}
    answers["cut off", 0] = ask(keyed_server, CARD, ends=True)
    answers["body cut off", 0] = ask(keyed_server, CARD + b"Content-Length: 9\r\n\r\nx", ends=True)

    for (name, piece), answer in answers.items():
        earlier = ["200"] if "not first" in name else []
        found = [each.decode() for each in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]
        assert found == [*earlier, "401"], (name, piece, answer[-300:])
        assert b"\r\nwww-authenticate: Bearer realm=" in answer, (name, piece)
        assert KEY.encode() not in answer
    assert b"found none. The request has more than 65,536 bytes" in answers["large bearer", 0]


def with_key(request: bytes) -> bytes:
    return request.replace(b"\r\n", b"\r\n" + WITH_KEY + b"\r\n", 1)


TOLD = {
    with_key(UNREADABLE["two hosts"]): (400, "malformed_request"),
    with_key(UNREADABLE["another version"]): (505, "http_version_not_supported"),
    with_key(UNREADABLE["another coding"]): (501, "unsupported"),
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + LARGE + b"\r\n\r\n": (431, "headers_too_large"),
    b"GET /livez HTTP/1.1\r\nHost: x\r\n" + 256 * b"a:b\r\n" + b"\r\n": (431, "headers_too_large"),
    b"GET /livez HTTP/1.1\r\nHost: x\r\n" + 2_000 * b"a:b\r\n": (431, "headers_too_large"),
    b"GET /livez HTTP/1.1\r\n\r\n": (400, "malformed_request"),
}


def test_what_is_wrong_is_told_to_a_client_with_a_key_and_where_none_is_needed(
    keyed_server: Listening,
) -> None:
    for request, (status, code) in TOLD.items():
        head, _, body = ask(keyed_server, request).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nconnection: close" in head
        assert json.loads(body)["code"] == code
        assert json.loads(body)["request_id"].encode() in head


def test_the_key_is_judged_before_the_number_of_connections(
    make_artifact: MakeArtifact, keys: Path
) -> None:
    start = listen(make_artifact(), api_keys_file=keys, max_connections=1)
    with start as listening, listening.connect() as busy:
        busy.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n" + WITH_KEY)
        busy.sendall(b"\r\n\r\nx")
        state = listening.server.server_state
        wait_until(lambda: len(state.connections) == 1 and not state.idle)
        answers = [ask(listening, CARD + key + b"\r\n") for key in (b"", WITH_KEY + b"\r\n")]

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 401", b"HTTP/1.1 503"]
    assert b"\r\nretry-after: 1\r\n" in answers[1]
