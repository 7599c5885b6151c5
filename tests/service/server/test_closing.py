"""Clients that do not read their answers, or read slowly, over real sockets."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.server import timeouts
from tests.service.conftest import MakeArtifact
from tests.service.listening import Listening, listen, wait_until

ANSWER = bytes(12_000_000)  # more than the kernel buffers
WRITE_TIMEOUT_S = 0.5
ASK = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"


async def large(_: Request) -> Response:
    return Response(ANSWER)


@pytest.fixture
def listening(make_artifact: MakeArtifact) -> Iterator[Listening]:
    limits: dict[str, Any] = {"keep_alive_timeout_s": 0.2, "write_timeout_s": WRITE_TIMEOUT_S}
    with listen(make_artifact(), **limits) as started:
        app = started.server.config.loaded_app
        app.router.routes.insert(0, Route("/large", large))
        yield started


def unread(listening: Listening) -> int:
    """Bytes that wait for the client."""
    connections = listening.server.server_state.connections
    return sum(each.transport.get_write_buffer_size() for each in list(connections))


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.parametrize("is_all", [False, True])
def test_a_client_that_reads_nothing_is_disconnected(
    requests: int, is_all: bool, listening: Listening
) -> None:
    with listening.connect() as deaf:
        deaf.sendall(requests * ASK)
        if is_all:
            deaf.shutdown(socket.SHUT_WR)
        wait_until(lambda: unread(listening) > 1_000_000)
        began = time.perf_counter()
        wait_until(lambda: not listening.server.server_state.connections)
        waited_s = time.perf_counter() - began

    assert waited_s < 5
    wait_until(lambda: not listening.server.server_state.tasks)


def test_a_client_that_reads_slowly_gets_all(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "MIN_WRITE_RATE", 1_000)
    received = 0
    with listening.connect() as slow:
        slow.sendall(ASK)
        while data := slow.recv(200_000):
            received += len(data)
            time.sleep(0.02)

    assert received > len(ANSWER)


@pytest.mark.parametrize("requests", [1, 2])
def test_a_client_that_reads_nothing_does_not_delay_the_end(
    requests: int, listening: Listening
) -> None:
    with listening.connect() as deaf:
        deaf.sendall(requests * ASK)
        wait_until(lambda: unread(listening) > 1_000_000)
        began = time.perf_counter()
        listening.server.should_exit = True
        wait_until(lambda: not listening.server.server_state.connections)
        waited_s = time.perf_counter() - began

    assert waited_s < 8  # a second less than it would wait


# The rule


class Written:
    """A transport in which so many bytes wait."""

    def __init__(self, *sizes: int) -> None:
        self.is_aborted = False
        self._sizes = iter(sizes)
        self._left = 0

    def get_write_buffer_size(self) -> int:
        self._left = next(self._sizes, self._left)
        return self._left

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sizes", "is_aborted"),
    [
        ((0,), False),
        ((50, 0), False),
        ((50, 50), True),
        ((50, 60), True),
        ((500, 401), True),  # 99 bytes in 0.05 s
        ((500, 399, 399, 298, 298, 197, 197, 96, 96, 1, 1, 0), True),  # 95 at the last but one
        ((500, 399, 399, 298, 298, 197, 197, 96, 96, 0), False),
    ],
)
async def test_a_client_that_reads_too_slowly_is_disconnected(
    sizes: tuple[int, ...], is_aborted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "MIN_WRITE_RATE", 2_000)
    transport = Written(*sizes)
    timeout = timeouts.WriteTimeout(cast(asyncio.Transport, transport), 0.05)

    timeout.start()
    timeout.start()  # it has started already
    async with asyncio.timeout(10):
        while timeout._timer is not None:  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)

    assert transport.is_aborted == is_aborted
