"""HEAD is answered like GET, and a path with a trailing slash like one without, on every route."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.service.api.routes.refusals import httpx_scope
from tests.service.conftest import Service
from tests.service.images import WHITE
from tests.service.v2 import HEADER, INFER, INFER_IMAGE, serving

pytestmark = pytest.mark.anyio

NAMES = {"name": "fashion-mnist", "version": "1", "index": "0"}
UNLISTED = ["/", "/docs", "/openapi.json", "/static/page.css", "/static/icon.svg"]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    async with serving() as service:
        yield service


async def paths(service: Service) -> list[str]:
    """List all paths that answer to GET."""
    described = (await service.client.get("/openapi.json")).json()["paths"]
    return UNLISTED + [path.format(**NAMES) for path, given in described.items() if "get" in given]


async def nothing() -> Any:
    await asyncio.Event().wait()


def noting(sent: list[bytes]) -> Callable[[Any], Awaitable[None]]:
    """Note the bytes of an answer's body, which httpx would drop."""

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    return send


async def test_head_gives_the_headers_of_get_without_a_body(service: Service) -> None:
    asked = await paths(service)
    for path in asked:
        sent: list[bytes] = []
        full = await service.client.get(path)
        head = await service.client.head(path)
        await service.app(httpx_scope(path) | {"method": "HEAD"}, nothing, noting(sent))

        assert (head.status_code, full.status_code) == (200, 200), path
        assert head.headers["content-type"] == full.headers["content-type"]
        assert int(head.headers["content-length"]) > 0
        assert b"".join(sent) == b""
        steady = "/metrics" not in path and "/stats" not in path
        assert not steady or head.headers["content-length"] == str(len(full.content)), path
    assert len(asked) > 15


async def test_head_of_what_is_not_there_or_only_posted_to_is_refused(service: Service) -> None:
    missing = await service.client.head("/nothing")
    posted = await service.client.head("/predict")

    assert missing.status_code == 404
    assert (posted.status_code, posted.headers["allow"]) == (405, "POST")


async def test_head_is_counted_as_head(service: Service) -> None:
    await service.client.head("/v2/models/fashion-mnist/ready")

    metrics = (await service.client.get("/metrics")).text

    route = 'route="/v2/models/{name}/ready"'
    assert f'resnet_requests_total{{method="HEAD",{route},status="200"}}' in metrics


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/static/page.css", "GET, HEAD"),
        ("/v2/health/ready", "GET, HEAD"),
        ("/predict/", "POST"),
        (INFER, "POST"),
    ],
)
async def test_a_refused_method_is_told_those_that_are_allowed(
    method: str, path: str, allowed: str, service: Service
) -> None:
    response = await service.client.request(method, path)

    assert (response.status_code, response.headers["allow"]) == (405, allowed)


async def test_a_slash_at_the_end_of_a_path_changes_no_answer(service: Service) -> None:
    for path in await paths(service):
        if path in {"/", "/docs"}:
            continue
        response = await service.client.get(path + "/")

        assert response.status_code == 200, path


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/predict/", {}),
        ("/predict//?top_k=1", {}),
        ("/models/fashion-mnist/predict/", {}),
        (INFER_IMAGE + "/", {HEADER: "0"}),
    ],
)
async def test_a_post_with_a_slash_is_answered_and_never_redirected(
    path: str, headers: dict[str, str], service: Service
) -> None:
    response = await service.client.post(path, content=WHITE, headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/nothing/", "/static/", "/predict/more/"])
async def test_a_path_that_is_not_there_is_not_there_with_a_slash(
    path: str, service: Service
) -> None:
    response = await service.client.get(path)

    assert response.status_code == 404
    assert "location" not in response.headers
