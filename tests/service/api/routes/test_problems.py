"""Every refusal over HTTP is a problem document, which tells what helps and no more."""

import base64
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest

from service.api.schemas import Problem
from service.errors import STATUS
from tests.service.api.routes.refusals import CASES, internal_error, overloaded
from tests.service.conftest import Serve, Service
from tests.service.images import WHITE

pytestmark = pytest.mark.anyio


def test_there_is_a_case_for_every_code() -> None:
    only_under_v2 = {"unsupported", "load_refused"}  # whose errors are no problem documents

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
    assert ("retry-after" in response.headers) == (
        code in ("overloaded", "not_ready", "out_of_memory", "rate_limited")
    )
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

    registry = services[0].app.state.service.telemetry.registry
    assert registry.get_sample_value("resnet_request_failures_total", {"code": code}) == 1


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
        ("/livez", {"GET", "HEAD"}),
        ("/architecture", {"GET", "HEAD"}),
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
async def test_the_index_names_the_image(position: int, form: str, shipped: Service) -> None:
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
        await shipped.client.post(
            "/predict", content=WHITE, headers={"content-type": "text/" + "x" * size}
        ),
        await shipped.client.post("/predict", json={"x" * size: 1}),
        await shipped.client.request("X" * size, "/predict"),
    ]

    assert [response.status_code for response in responses] == [404, 400, 400, 415, 400, 405]
    assert all(len(response.content) < 1_000 for response in responses)
