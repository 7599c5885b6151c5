import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from model.preprocessing import Pixels
from service.api.compression import compress
from service.api.v2 import infer as inference_v2
from service.api.v2.names import ModelAlias
from service.api.v2.routing import requested_alias
from service.cancellation import DISCONNECT
from service.inference.outputs import BatchOutputs
from tests.service.conftest import Service, replace_run
from tests.service.v2 import (
    HEADER,
    INFER,
    INFER_IMAGE,
    MODEL,
    asking,
    error_of,
    pixels,
    png,
    serving,
)

pytestmark = pytest.mark.anyio

RAW = {HEADER: "0"}


class Gate:
    """A gate before the engine: a run waits until it is opened."""

    def __init__(self, service: Service) -> None:
        self._entered, self._opened = threading.Event(), threading.Event()
        self._run = replace_run(service.classifier.batcher, self._wait)

    def _wait(self, images: Pixels) -> BatchOutputs:
        self._entered.set()
        assert self._opened.wait(timeout=20)
        return self._run(images)

    async def has_entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 20)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_images_with_too_many_pixels_are_refused() -> None:
    async with serving(max_pixels=700) as service:
        response = await service.client.post(INFER_IMAGE, content=png(), headers={HEADER: "0"})

    assert "the limit is 700" in error_of(response, 413)


async def test_a_full_queue_is_told_with_the_time_to_come_back() -> None:
    async with serving(max_in_flight=1, max_images=1) as service:
        gate = Gate(service)
        first = asyncio.create_task(service.client.post(INFER, content=bytes(784), headers=RAW))
        await gate.has_entered()

        response = await service.client.post(INFER, content=bytes(784), headers=RAW)

        gate.open()
        assert (await first).status_code == 200
    assert "RESNET_MAX_IN_FLIGHT" in error_of(response, 503)
    assert int(response.headers["retry-after"]) >= 1


async def test_what_was_unpacked_counts_among_the_bytes_that_are_buffered() -> None:
    async with serving(max_body_bytes=100_000, max_buffered_bytes=150_000) as service:
        gate, budget = Gate(service), service.app.state.service.budget
        content = json.dumps(asking([1, 28, 28, 1], "UINT8", data=pixels().tolist()))
        body = content.ljust(80_000).encode()
        packed, headers = compress(body, "gzip"), {"content-encoding": "gzip"}

        first = asyncio.create_task(service.client.post(INFER, content=packed, headers=headers))
        await gate.has_entered()
        buffered = budget.buffered
        refused = await service.client.post(INFER, content=packed, headers=headers)
        buffered_then = budget.buffered
        gate.open()

        assert len(packed) < 10_000
        assert (await first).status_code == 200
        assert buffered == buffered_then == 80_000
        assert "RESNET_MAX_BUFFERED_BYTES" in error_of(refused, 503)
        assert budget.buffered == 0


async def test_a_timeout_in_microseconds_is_the_deadline_of_its_request() -> None:
    async with serving() as service:
        gate = Gate(service)
        content = asking([1, 28, 28, 1], "UINT8", data=pixels().tolist())
        content["parameters"] = {"timeout": 100_000}

        first = asyncio.create_task(service.client.post(INFER, content=bytes(784), headers=RAW))
        await gate.has_entered()
        late = await service.client.post(INFER, json=content)
        gate.open()

        assert "deadline" in error_of(late, 504)
        assert (await first).status_code == 200
        assert service.classifier.batcher.executed == 1


async def test_a_client_that_leaves_is_never_run() -> None:
    async with serving() as service:
        gate = Gate(service)
        busy = asyncio.create_task(service.client.post(INFER, content=bytes(784), headers=RAW))
        await gate.has_entered()
        scopes: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scopes.append(scope)
            await service.app(scope, receive, send)

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as other:
            leaving = asyncio.create_task(other.post(INFER, content=bytes(784), headers=RAW))
            while not service.classifier.batcher.queued():  # noqa: ASYNC110  # no event for it
                await asyncio.sleep(0.01)
            scopes[0][DISCONNECT]()
            left = await leaving
        gate.open()
        await busy
        after = await service.client.post(INFER, content=bytes(784), headers=RAW)

        assert "closed the connection" in error_of(left, 400)
        assert after.status_code == 200
        assert service.classifier.batcher.executed == 2


async def test_an_engine_that_fails_is_an_error_of_the_service() -> None:
    async with serving() as service:

        def fail(_: Any) -> BatchOutputs:
            raise RuntimeError("secret")

        replace_run(service.classifier.batcher, fail)
        response = await service.client.post(INFER, content=bytes(784), headers=RAW)

    assert "secret" not in error_of(response, 500)


async def test_a_draining_service_is_not_ready_but_answers() -> None:
    async with serving() as service:
        service.app.state.service.draining = True

        for path in ("/v2/health/ready", MODEL + "/ready"):
            assert "shutting down" in error_of(await service.client.get(path), 503)
        live = await service.client.get("/v2/health/live")
        answer = await service.client.post(INFER, content=bytes(784), headers=RAW)

    assert (live.status_code, live.json()) == (200, {"live": True})
    assert answer.status_code == 200


async def test_nulls_stand_for_what_is_left_out() -> None:
    async with serving() as service:
        content = asking([1, 28, 28, 1], "UINT8", data=pixels().tolist(), parameters=None)
        content |= {"id": None, "parameters": None, "outputs": None}

        response = await service.client.post(INFER, json=content)

    assert response.status_code == 200
    assert len(response.json()["outputs"]) == 2


async def test_an_output_in_shared_memory_is_refused() -> None:
    async with serving() as service:
        content = asking([1, 28, 28, 1], "UINT8", data=pixels().tolist())
        region = {"shared_memory_region": "mine", "shared_memory_byte_size": 40}
        content["outputs"] = [{"name": "probabilities", "parameters": region}]

        response = await service.client.post(INFER, json=content)

    assert "Shared memory" in error_of(response, 501)


async def test_the_timeout_of_the_header_counts_here_too() -> None:
    async with serving() as service:
        gate = Gate(service)
        first = asyncio.create_task(service.client.post(INFER, content=bytes(784), headers=RAW))
        await gate.has_entered()
        headers = {**RAW, "X-Request-Timeout-Ms": "200"}
        late = await service.client.post(INFER, content=bytes(784), headers=headers)
        gate.open()
        await first
        odd = {**RAW, "X-Request-Timeout-Ms": "nan"}
        refused = await service.client.post(INFER, content=bytes(784), headers=odd)

    assert "deadline" in error_of(late, 504)
    assert "timeout" in error_of(refused, 400).lower()


async def test_a_model_that_changes_its_input_meanwhile_does_not_get_the_old_ones_tensor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as service:
        seen = []

        def changing(request: Any) -> ModelAlias:
            alias = requested_alias(request)
            seen.append(alias)
            if len(seen) < 3:
                return alias
            tensor = alias.signature.input._replace(shape=(-1, 32, 32, 3))
            return alias._replace(signature=alias.signature._replace(input=tensor))

        monkeypatch.setattr(inference_v2, "requested_alias", changing)
        response = await service.client.post(INFER, content=bytes(784), headers=RAW)

    assert error_of(response, 400)
    assert service.classifier.batcher.executed == 0
