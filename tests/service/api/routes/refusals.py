"""One way to provoke each code over HTTP."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from service.fault import FAULT, Fault
from service.preprocessing import decode
from service.registry import classifier
from tests.service import graphs
from tests.service.conftest import Gate, Serve, Service
from tests.service.images import BLACK, GREY, WHITE, encode, striped

Provoke = Callable[[Serve, pytest.MonkeyPatch], Awaitable[httpx.Response]]
PNG = {"content-type": "image/png"}
CASES: dict[str, Provoke] = {}


def case(provoke: Provoke) -> Provoke:
    """Enter a way to provoke the code that is its name."""
    CASES[provoke.__name__] = provoke
    return provoke


def post(service: Service, content: bytes = WHITE, **more: Any) -> Awaitable[httpx.Response]:
    return service.client.post("/predict", content=content, headers=PNG, **more)


@case
async def malformed_request(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await (await serve()).client.post("/predict", json=["not an object"])


@case
async def invalid_parameter(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await post(await serve(), params={"top_k": 0})


async def keyed(serve: Serve) -> Service:
    """Serve to a key that may ask for predictions alone."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"shop: secret predict")
        file.flush()
        return await serve(api_keys_file=Path(file.name))


@case
async def unauthorized(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await post(await keyed(serve))


@case
async def forbidden(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await (await keyed(serve)).client.get("/card", headers={"x-api-key": "secret"})


@case
async def rate_limited(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    service = await serve(client_requests_s=0.001)
    await service.client.get("/card")
    return await service.client.get("/card")


@case
async def not_found(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await (await serve()).client.get("/nothing/here")


@case
async def model_not_found(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await (await serve()).client.post("/models/nobody/predict", content=WHITE)


@case
async def client_disconnected(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    """The client is gone, so the response is made by hand."""
    service = await serve()
    scope = httpx_scope("/predict")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await service.app(scope, receive, send)
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"])


def httpx_scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
    }


@case
async def method_not_allowed(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await (await serve()).client.get("/predict")


@case
async def request_timeout(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    service = await serve(body_timeout_s=0.05)

    async def trickle() -> Any:
        for _ in range(100):
            await asyncio.sleep(0.02)
            yield b"x"

    return await service.client.post("/predict", content=trickle(), headers=PNG)


@case
async def body_too_large(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await post(await serve(max_body_bytes=len(WHITE) - 1))


@case
async def too_many_images(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    service = await serve(max_images=1)
    return await service.client.post("/predict", files=[("file", WHITE), ("file", WHITE)])


@case
async def image_too_large(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await post(await serve(max_pixels=15))


@case
async def unsupported_media_type(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    service = await serve()
    return await service.client.post("/predict", data={"file": "x"})


@case
async def invalid_image(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await post(await serve(), b"no image")


@case
async def inference_failed(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await post(await serve(graphs.fails_on_grey()), GREY)


@case
async def internal_error(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    def run(images: object) -> Any:
        raise ZeroDivisionError(f"A secret of {images}.")

    return await post(await serve(run=run))


@case
async def not_ready(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    service = await serve()
    service.app.state.service.draining = True
    return await service.client.get("/readyz")


def refused(service: Service, status: HTTPStatus) -> Awaitable[httpx.Response]:
    """Ask with a head that the server refuses; here, where there is no server, it says so."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await service.app({**scope, FAULT: Fault(status, "It is refused.")}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x").get("/card")


@case
async def headers_too_large(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await refused(await serve(), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)


@case
async def http_version_not_supported(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await refused(await serve(), HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)


@case
async def engine_stalled(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> httpx.Response:
    monkeypatch.setattr(classifier, "STALL_TIMEOUT_S", 0.02)
    response, _ = await while_the_engine_is_busy(
        serve, lambda service: service.client.get("/livez")
    )
    return response


@case
async def overloaded(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    response, first = await while_the_engine_is_busy(serve, post, max_in_flight=1)
    assert first.status_code == 200
    return response


@case
async def out_of_memory(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> httpx.Response:
    def fail(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(decode, "upright", fail)
    return await post(await serve(), encode(striped()))


@case
async def deadline_exceeded(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    gate = Gate()
    response = await post(await serve(run=gate, deadline_s=0.05))
    gate.let_through()
    return response


async def while_the_engine_is_busy(
    serve: Serve, ask: Callable[[Service], Awaitable[httpx.Response]], **changes: Any
) -> tuple[httpx.Response, httpx.Response]:
    """Send a request during a run; return its response and that of the run."""
    gate = Gate()
    service = await serve(run=gate, **changes)
    first = asyncio.ensure_future(post(service, BLACK))
    await gate.has_entered()
    await asyncio.sleep(0.05)
    response = await ask(service)
    gate.let_through()
    return response, await first
