"""Clients that send no more and still read, over real sockets."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.service.conftest import MakeArtifact
from tests.service.listening import REQUEST, Listening, listen, wait_until
from tests.service.process import read_answer


@pytest.fixture(params=["uvloop", "asyncio"])
def listening(make_artifact: MakeArtifact, request: pytest.FixtureRequest) -> Iterator[Listening]:
    with listen(make_artifact(), loop=request.param) as started:
        yield started


@pytest.mark.parametrize("requests", [1, 3])
def test_a_half_closed_request_is_answered_whole(requests: int, listening: Listening) -> None:
    with listening.connect() as connection:
        connection.sendall(requests * REQUEST)
        connection.shutdown(socket.SHUT_WR)
        assert listening.gate.entered.acquire(timeout=10)
        time.sleep(0.15)  # it is checked periodically
        listening.gate.let_through(requests)
        answer = read_answer(connection)

    assert answer.count(b"HTTP/1.1 200 OK\r\n") == requests
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b'"dark"') >= requests
    assert answer.endswith(b"}")


def test_what_cannot_become_whole_any_more_is_told_so(listening: Listening) -> None:
    for part in (REQUEST[:20], REQUEST[:-5]):
        with listening.connect() as connection:
            connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)

            assert read_answer(connection).startswith(b"HTTP/1.1 400 ")


def test_a_whole_request_before_half_a_one_is_answered(listening: Listening) -> None:
    listening.gate.let_through()
    with listening.connect() as connection:
        connection.sendall(REQUEST + REQUEST[:-5])
        connection.shutdown(socket.SHUT_WR)
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert listening.gate.batches == [[0]]


def test_a_client_that_has_closed_the_connection_is_noticed_and_not_run(
    listening: Listening,
) -> None:
    with listening.connect() as busy:
        busy.sendall(REQUEST)
        assert listening.gate.entered.acquire(timeout=10)
        with listening.connect() as leaving:
            leaving.sendall(REQUEST)
            wait_until(lambda: listening.admission.in_flight == 2)
        wait_until(lambda: listening.admission.in_flight == 1)

    assert listening.gate.batches == [[0]]
