"""The application inside other software: more middleware, a prefix, other error handlers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from service.app import create_app
from service.errors import InvalidImageError
from service.settings import Settings
from tests.service.conftest import MakeArtifact, serving
from tests.service.images import WHITE
from tests.service.process import ROOT

pytestmark = pytest.mark.anyio
ORIGIN = "https://shop.example"


async def test_middleware_can_be_added_as_the_docs_show(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    monkeypatch.setenv("RESNET_ARTIFACT", str(make_artifact()))
    monkeypatch.setenv("RESNET_INTRA_OP_THREADS", "1")

    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # a page of ours
    async with serving(names["app"]) as service:
        service.client.headers["Origin"] = ORIGIN
        good = await service.client.post("/predict", content=WHITE)
        bad = await service.client.post("/predict", content=b"junk")
        preflight = await service.client.options(
            "/predict", headers={"Access-Control-Request-Method": "POST"}
        )

    assert [each.status_code for each in (good, bad, preflight)] == [200, 422, 200]
    for response in (good, bad, preflight):
        assert response.headers["access-control-allow-origin"] == ORIGIN
    assert bad.json()["code"] == "invalid_image"


async def test_an_error_of_the_embedding_application_can_have_a_handler(
    make_artifact: MakeArtifact,
) -> None:
    async def teapot(request: Request, error: Exception) -> Response:  # noqa: ARG001
        return Response(status_code=418)

    app = create_app(Settings(artifact=make_artifact(), intra_op_threads=1))
    app.add_exception_handler(LookupError, teapot)

    @app.get("/tea")
    async def tea() -> None:
        raise LookupError

    async with serving(app) as service:
        response = await service.client.get("/tea")

    assert response.status_code == 418
    assert response.headers["x-request-id"]


async def test_an_error_of_a_prediction_can_have_a_handler(make_artifact: MakeArtifact) -> None:
    async def teapot(request: Request, error: Exception) -> Response:
        return Response(f"{request.url.path} {type(error).__name__}", status_code=418)

    app = create_app(Settings(artifact=make_artifact(), intra_op_threads=1))
    app.add_exception_handler(InvalidImageError, teapot)

    async with serving(app) as service:
        response = await service.client.post("/predict", content=b"junk")

    assert (response.status_code, response.text) == (418, "/predict InvalidImageError")


async def test_it_answers_under_a_prefix_of_another_application(
    make_artifact: MakeArtifact,
) -> None:
    inner = create_app(Settings(artifact=make_artifact(), intra_op_threads=1))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with inner.router.lifespan_context(inner):
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/vision", inner)
    transport = httpx.ASGITransport(outer)
    async with (
        outer.router.lifespan_context(outer),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        good = await client.post("/vision/predict", content=WHITE)
        slash = await client.post("/vision/predict/", content=WHITE)
        bad = await client.post("/vision/predict", content=b"junk")
        unknown = await client.get("/vision/nothing")
        page = await client.get("/vision/")
        metrics = (await client.get("/vision/metrics")).text

    statuses = [each.status_code for each in (good, slash, bad, unknown, page)]
    assert statuses == [200, 200, 422, 404, 200]
    assert bad.headers["content-type"] == "application/problem+json"
    labels = 'route="/predict",status="200"'
    assert f'resnet_requests_total{{method="POST",{labels}}} 2.0' in metrics
