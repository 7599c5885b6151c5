"""Requests that are sent ahead of their answers, by the thousand."""

import asyncio
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.fault import FAULT
from service.server.connections import Connections, Limits
from service.server.protocol import HttpProtocol

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OFFER = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and knows whether it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reads = True
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
    assert scope["type"] in ("http", "lifespan")
    status = 400 if FAULT in scope else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"x"})


def connect() -> tuple[HttpProtocol, Wire]:
    config = uvicorn.Config(answer, http=HttpProtocol, ws="none", log_config=None)
    protocol = HttpProtocol(config=config, server_state=Connections(Limits()), app_state={})
    wire = Wire()
    protocol.connection_made(cast(asyncio.Transport, wire))
    return protocol, wire


@pytest.mark.anyio
@pytest.mark.parametrize(("request_", "count"), [(GET, 9_000), (OFFER, 4_000)])
async def test_thousands_of_requests_in_one_read_wait_as_bytes(request_: bytes, count: int) -> None:
    protocol, wire = connect()

    protocol.data_received(count * request_)

    assert len(protocol.pipeline) < 200
    assert not wire.reads
    assert b"400" not in wire.written
    protocol.connection_lost(None)


@pytest.mark.anyio
@pytest.mark.parametrize("request_", [GET, OFFER])
async def test_all_of_them_are_answered(request_: bytes) -> None:
    protocol, wire = connect()

    protocol.data_received(1_000 * request_)
    async with asyncio.timeout(20):
        while wire.written.count(b"HTTP/1.1 200 ") < 1_000 or not wire.reads:
            assert len(protocol.pipeline) < 200
            await asyncio.sleep(0.001)

    assert wire.written.count(b"HTTP/1.1 200 ") == 1_000
    assert not wire.is_closed
    protocol.connection_lost(None)


@pytest.mark.anyio
async def test_what_is_read_while_others_wait_comes_after_them() -> None:
    protocol, wire = connect()

    protocol.data_received(400 * GET + GET[:10])
    protocol.data_received(GET[10:])
    protocol.data_received(b"nonsense\r\n\r\n" + 1_000 * GET)
    async with asyncio.timeout(20):
        while b"HTTP/1.1 400 " not in wire.written:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    protocol.connection_lost(None)

    assert wire.written.count(b"HTTP/1.1 200 ") == 401
    assert wire.written.count(b"HTTP/1.1 ") == 402
    assert wire.written.count(b"HTTP/1.1 400 ") == 1
