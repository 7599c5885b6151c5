"""Every refusal over HTTP: one way to provoke each code."""

import asyncio
import base64
import functools
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service import body, classifier
from service.errors import STATUS
from service.routes import predict
from service.schemas import Problem
from tests.service import graphs
from tests.service.conftest import Gate, Serve, Service
from tests.service.pictures import BLACK, GREY, WHITE

pytestmark = pytest.mark.anyio

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


@case
async def not_found(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await (await serve()).client.get("/nothing/here")


@case
async def model_not_found(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    return await (await serve()).client.post("/models/nobody/predict", content=WHITE)


@case
async def client_left(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    """Nobody reads this one, so it is asked for by hand."""
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
async def receive_timeout(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> httpx.Response:
    hasty = functools.partial(body.receive, timeout_s=0.05)
    monkeypatch.setattr(predict, "receive", hasty)
    service = await serve()

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
    return await post(await serve(), b"no picture")


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
    service.app.state.draining = True
    return await service.client.get("/readyz")


@case
async def engine_stuck(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> httpx.Response:
    monkeypatch.setattr(classifier, "STUCK_S", 0.02)
    response, _ = await while_the_engine_is_busy(
        serve, lambda service: service.client.get("/livez")
    )
    return response


@case
async def overloaded(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    response, first = await while_the_engine_is_busy(serve, post, max_queue=1)
    assert first.status_code == 200
    return response


@case
async def deadline_exceeded(serve: Serve, _: pytest.MonkeyPatch) -> httpx.Response:
    gate = Gate()
    response = await post(await serve(run=gate, deadline_ms=50))
    gate.let_through()
    return response


async def while_the_engine_is_busy(
    serve: Serve, ask: Callable[[Service], Awaitable[httpx.Response]], **changes: Any
) -> tuple[httpx.Response, httpx.Response]:
    """Ask something while a run is under way; give that answer and the run's own."""
    gate = Gate()
    service = await serve(run=gate, **changes)
    first = asyncio.ensure_future(post(service, BLACK))
    await gate.has_entered()
    await asyncio.sleep(0.05)
    response = await ask(service)
    gate.let_through()
    return response, await first


def test_there_is_a_case_for_every_code() -> None:
    only_under_v2 = {"unsupported"}  # whose errors are no problem documents

    assert set(CASES) == {kind.code for kind in STATUS} - only_under_v2


@pytest.mark.parametrize("code", CASES)
async def test_a_refusal_is_a_problem_document(
    code: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = await CASES[code](serve, monkeypatch)

    problem = response.json()
    status = {kind.code: value for kind, value in STATUS.items()}[code]
    assert problem["code"] == code
    assert response.status_code == problem["status"] == status.value
    assert problem["title"] == status.phrase
    assert problem["type"] == "about:blank"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (code == "overloaded")
    assert Problem.model_validate_json(response.content).detail[-1] in ".?"


@pytest.mark.parametrize("code", CASES)
async def test_a_refusal_is_counted_by_its_code(
    code: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    services: list[Service] = []

    async def noted(*given: Any, **changes: Any) -> Service:
        services.append(await serve(*given, **changes))
        return services[0]

    await CASES[code](noted, monkeypatch)

    registry = services[0].app.state.telemetry.registry
    assert registry.get_sample_value("resnet_refusals_total", {"code": code}) == 1


async def test_our_own_mistake_tells_the_client_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = await internal_error(serve, monkeypatch)

    assert "secret" not in response.text
    assert "ZeroDivisionError" not in response.text


async def test_a_full_service_says_when_to_come_back(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = await overloaded(serve, monkeypatch)

    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/predict", {"POST"}),
        ("/models/tiny/predict", {"POST"}),
        ("/livez", {"GET"}),
        ("/architecture", {"GET"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    path: str, allowed: set[str], serve: Serve
) -> None:
    response = await (await serve()).client.put(path)

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("form", ["json", "multipart"])
async def test_the_index_names_the_picture(position: int, form: str, shipped: Service) -> None:
    images = [WHITE] * 3
    images[position] = b"junk"

    response = await send(shipped, form, images)

    assert response.status_code == 422
    assert response.json()["index"] == position


@pytest.mark.parametrize("form", ["json", "multipart"])
async def test_a_problem_of_the_whole_request_has_no_index(form: str, serve: Serve) -> None:
    service = await serve(max_images=2)

    response = await send(service, form, [WHITE] * 3)

    assert response.status_code == 413
    assert "index" not in response.json()


def send(service: Service, form: str, images: list[bytes]) -> Awaitable[httpx.Response]:
    if form == "multipart":
        return service.client.post("/predict", files=[("file", image) for image in images])
    texts = [base64.b64encode(image).decode() for image in images]
    return service.client.post("/predict", json={"images": texts})


@pytest.mark.parametrize("size", [1_000, 50_000])
async def test_a_problem_repeats_little_of_what_was_sent(size: int, shipped: Service) -> None:
    responses = [
        await shipped.client.get("/" + "x" * size),
        await shipped.client.post("/predict", content=WHITE, params={"x" * size: "1"}),
        await shipped.client.post("/predict", content=WHITE, params={"top_k": "x" * size}),
        await shipped.client.post("/predict", content=WHITE, headers={"content-type": "x" * size}),
        await shipped.client.post("/predict", json={"x" * size: 1}),
        await shipped.client.request("X" * size, "/predict"),
    ]

    assert [response.status_code for response in responses] == [404, 400, 400, 415, 400, 405]
    assert all(len(response.content) < 1_000 for response in responses)
