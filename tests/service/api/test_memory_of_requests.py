"""What a request leaves in memory when it is over: nothing, before the garbage collector runs."""

import asyncio
import base64
import gc
import gzip
import io
import json
import logging
import sys
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.types import Message, Scope

from service.api import failures
from service.errors import OverloadedError
from service.memory import release_frames
from tests.service.conftest import MakeArtifact, Service, replace_run
from tests.service.images import WHITE
from tests.service.listening import listen
from tests.service.v2 import HEADER, INFER, INFER_IMAGE, png

pytestmark = pytest.mark.anyio

MEGABYTE = 1_000_000
TIMES = 3
JSON, BINARY = {"content-type": "application/json"}, {HEADER: "0"}
FORM = {"content-type": "multipart/form-data; boundary=B"}
DAMAGED = png()[:-20] + bytes(MEGABYTE)
WHOLE = png() + bytes(MEGABYTE)
"""What follows a PNG's end is passed over."""


def form(*parts: bytes, name: str = "file") -> bytes:
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
    return b"".join(head + part + b"\r\n" for part in parts) + b"--B--\r\n"


def images(*files: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(file).decode() for file in files]}).encode()


def tensor(datatype: str, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "images", "datatype": datatype, "shape": shape, **more}]}


def behind(request: dict[str, Any], blob: bytes) -> tuple[dict[str, str], bytes]:
    text = json.dumps(request).encode()
    return {HEADER: str(len(text))}, text + blob


TEXT = base64.b64encode(DAMAGED).decode()
REFUSED: dict[str, tuple[str, dict[str, str], bytes]] = {
    "raw garbage": ("/predict", {}, b"a" * MEGABYTE),
    "damaged PNG": ("/predict", {}, DAMAGED),
    "JSON of garbage": ("/predict", JSON, images(b"a" * MEGABYTE)),
    "JSON of several, one damaged": ("/predict", JSON, images(WHOLE, DAMAGED, WHOLE)),
    "JSON that ends early": ("/predict", JSON, b'{"images":["' + b"a" * MEGABYTE),
    "JSON of another kind": ("/predict", JSON, json.dumps({"image": "a" * MEGABYTE}).encode()),
    "no base64": ("/predict", JSON, json.dumps({"images": ["a" * MEGABYTE + "*"]}).encode()),
    "too many in JSON": ("/predict", JSON, images(*[bytes(20_000)] * 65)),
    "a part of another name": ("/predict", FORM, form(bytes(MEGABYTE), name="nope")),
    "a form that ends early": ("/predict", FORM, form(bytes(MEGABYTE))[:-9]),
    "a form of several, one damaged": ("/predict", FORM, form(WHOLE, DAMAGED, WHOLE)),
    "a form of garbage": ("/predict", FORM, form(b"a" * MEGABYTE)),
    "another content type": ("/predict", {"content-type": "text/html"}, bytes(MEGABYTE)),
    "another model": ("/models/nobody/predict", {}, bytes(MEGABYTE)),
    "a model by its name": ("/models/fashion-mnist/predict", {}, DAMAGED),
    "a wrong query": ("/predict?top_k=0", {}, bytes(MEGABYTE)),
    "a wrong header": ("/predict", {"x-request-timeout-ms": "x"}, bytes(MEGABYTE)),
    "a short deadline": ("/predict", {"x-request-timeout-ms": "1"}, WHOLE),
    "too large": ("/predict", {}, bytes(11 * MEGABYTE)),
    "V2 garbage": (INFER_IMAGE, BINARY, b"a" * MEGABYTE),
    "V2 damaged PNG": (INFER_IMAGE, BINARY, DAMAGED),
    "V2 in JSON": (INFER_IMAGE, {}, json.dumps(tensor("BYTES", [1], data=[TEXT])).encode()),
    "V2 binary": (
        INFER_IMAGE,
        *behind(tensor("BYTES", [1]), len(DAMAGED).to_bytes(4, "little") + DAMAGED),
    ),
    "V2 of a wrong shape": (INFER, *behind(tensor("UINT8", [1, 9, 9, 1]), bytes(MEGABYTE))),
    "V2 bad JSON": (INFER, {}, b'{"inputs":[{"name":"' + b"a" * MEGABYTE),
    "V2 of wrong numbers": (
        INFER,
        {},
        json.dumps(tensor("UINT8", [1, 28, 28, 1], data=[300] * 100_000)).encode(),
    ),
    "V2 of no encoding": (INFER, {"content-encoding": "gzip"}, bytes(MEGABYTE)),
    "V2 unpacked": (
        INFER_IMAGE,
        BINARY | {"content-encoding": "gzip"},
        gzip.compress(b"a" * MEGABYTE),
    ),
    "V2 that unpacks to too much": (
        INFER_IMAGE,
        BINARY | {"content-encoding": "gzip"},
        gzip.compress(bytes(20 * MEGABYTE)),
    ),
    "no such route": ("/nothing", {}, bytes(MEGABYTE)),
}
CHUNK = 262_144
LITTLE = MEGABYTE // 4


class Client:
    """Sends requests as uvicorn would, in chunks made on the way, and keeps what it would keep."""

    def __init__(self, service: Service) -> None:
        self.app = service.app
        self.scopes: list[Scope] = []
        """A connection keeps the scope of its last request for as long as it is idle."""

    async def post(
        self, url: str, headers: dict[str, str], body: bytes, leaves: bool = False
    ) -> int:
        path, _, query = url.partition("?")
        given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "headers": given,
            "client": ("192.0.2.1", 1),
            "server": None,
        }
        file, statuses = io.BytesIO(body), []
        length = len(body) - 1 if leaves else len(body)

        async def receive() -> Message:
            if leaves and file.tell() >= length:
                return {"type": "http.disconnect"}
            chunk = file.read(CHUNK)
            return {"type": "http.request", "body": chunk, "more_body": file.tell() < len(body)}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        self.scopes.append(scope)
        await self.app(scope, receive, send)
        return int(statuses[0])


@pytest.fixture
def client(shipped: Service) -> Iterator[Client]:
    client = Client(shipped)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield client
    tracemalloc.stop()
    gc.enable()


async def grown_by(client: Client, *request: Any, **how: Any) -> tuple[set[int], int]:
    """Send a request some times: its statuses, and the bytes that stay."""
    statuses = {await client.post(*request, **how)}  # what is made once is made
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(TIMES):
        statuses.add(await client.post(*request, **how))
    for _ in range(200):  # a thread may release its work a moment later
        if (grown := tracemalloc.get_traced_memory()[0] - before) < LITTLE:
            break
        await asyncio.sleep(0.01)
    return statuses, grown


@pytest.mark.parametrize("road", REFUSED)
async def test_a_refused_request_leaves_nothing_in_memory(road: str, client: Client) -> None:
    statuses, grown = await grown_by(client, *REFUSED[road])

    assert min(statuses) >= 400
    assert max(statuses) < 500 or road == "a short deadline"
    assert grown < LITTLE


@pytest.mark.parametrize("road", ["raw garbage", "JSON of garbage", "V2 garbage"])
async def test_a_client_that_leaves_within_its_body_leaves_nothing_in_memory(
    road: str, client: Client
) -> None:
    _, grown = await grown_by(client, *REFUSED[road], leaves=True)

    assert grown < LITTLE


@pytest.mark.parametrize("url", ["/predict", "/predict?explain=true", INFER_IMAGE])
async def test_an_answered_request_leaves_nothing_on_its_idle_connection(
    url: str, client: Client
) -> None:
    statuses, grown = await grown_by(client, url, BINARY, WHOLE)

    assert statuses == {200}
    assert grown < LITTLE


async def test_an_idle_connection_holds_neither_images_nor_answers(
    client: Client, shipped: Service
) -> None:
    seen: list[Any] = []

    def watched(images: Any, *extras: Any) -> Any:
        rows = run(images, *extras)
        seen.extend([weakref.ref(rows), weakref.ref(images)])
        return rows

    run = replace_run(shipped.classifier.batcher, watched)
    status = await client.post("/predict", {}, WHOLE)
    replace_run(shipped.classifier.batcher, run)
    await asyncio.sleep(0.05)  # the engine's thread lets go, too

    assert status == 200
    assert len(seen) == 2
    assert [each() for each in seen] == [None, None]


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), MemoryError()])
async def test_a_failure_of_the_engine_leaves_nothing_in_memory(
    error: Exception, client: Client, shipped: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        lost = np.zeros(MEGABYTE, np.uint8)
        raise type(error)(*error.args, lost.size)

    monkeypatch.setattr(failures, "log", logging.Logger("apart"))  # pytest keeps what is logged
    run = replace_run(shipped.classifier.batcher, fail)

    statuses, grown = await grown_by(client, "/predict", {}, WHOLE)
    replace_run(shipped.classifier.batcher, run)

    assert statuses == {503 if isinstance(error, MemoryError) else 500}
    assert grown < LITTLE


async def test_a_request_refused_for_its_number_of_images_leaves_nothing_in_memory(
    client: Client, shipped: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped.classifier.admission, "max_in_flight", 1)

    statuses, grown = await grown_by(client, "/predict", JSON, images(WHOLE, WHOLE))

    assert statuses == {503}
    assert grown < LITTLE


def test_the_frames_of_an_error_and_of_its_causes_are_released() -> None:
    def fail(held: list[int]) -> None:
        try:
            try:
                raise ValueError("first")
            except ValueError:
                raise KeyError(held[0]) from None
        except KeyError as error:
            raise OverloadedError("last") from error

    held = [1]
    with pytest.raises(OverloadedError) as raised:
        fail(held)
    before = sys.getrefcount(held)

    release_frames(raised.value)
    del raised

    assert sys.getrefcount(held) < before


async def test_a_small_request_is_answered_after_all(client: Client) -> None:
    assert await client.post("/predict", {}, WHITE) == 200


def test_an_idle_connection_holds_no_body_that_nobody_read(make_artifact: MakeArtifact) -> None:
    head = b"POST /predict?top_k=0 HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    with listen(make_artifact()) as listening, listening.connect() as connection:
        connection.sendall(head + bytes(60_000))
        answer = connection.recv(65_536)
        (kept,) = listening.server.server_state.connections

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert len(kept.cycle.body) == 0  # type: ignore[union-attr]
