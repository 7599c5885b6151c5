"""Requests in flight while models are added and removed."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from service.registry import registry as models
from tests.service.conftest import Gate, MakeArtifact, replace_engine
from tests.service.images import WHITE
from tests.service.served_models import damage, reload, reloads, serving_from, version

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("trials")]


async def test_a_request_keeps_the_model_that_it_began_with(make_artifact: MakeArtifact) -> None:
    folder = make_artifact().parent
    gate = Gate()
    async with serving_from(folder) as service:
        batcher = replace_engine(service.app, gate)
        batcher.start()
        running = asyncio.create_task(service.client.post("/predict", content=WHITE))
        await gate.has_entered()
        make_artifact(version="2")
        await reload(service)
        newer = await version(service)
        await asyncio.sleep(2 * models.RETIRE_S)
        gate.let_through()

        response = await running

    assert (response.status_code, newer) == (200, "tiny 2")


async def test_a_body_that_spans_a_reload_is_answered_by_the_new_model(
    make_artifact: MakeArtifact,
) -> None:
    is_swapped = asyncio.Event()
    async with serving_from(make_artifact().parent) as service:

        async def slowly() -> AsyncIterator[bytes]:
            yield WHITE[:10]
            await is_swapped.wait()
            yield WHITE[10:]

        asking = asyncio.create_task(service.client.post("/predict", content=slowly()))
        await asyncio.sleep(0.05)
        make_artifact(version="2")
        await reload(service)
        await asyncio.sleep(4 * models.RETIRE_S)  # the old one has ended by now
        is_swapped.set()

        response = await asking

    assert response.status_code == 200
    assert response.json()["model"]["version"] == "2"


async def test_no_request_fails_while_models_come_and_go(make_artifact: MakeArtifact) -> None:
    is_over = asyncio.Event()
    seen: list[str] = []
    async with serving_from(make_artifact().parent) as service:

        async def ask_on_and_on() -> None:
            while not is_over.is_set():
                seen.append(await version(service))

        askers = [asyncio.create_task(ask_on_and_on()) for _ in range(4)]
        for number in range(2, 8):
            candidate = make_artifact(version=str(number))
            if number % 2:
                damage(candidate)
            await reload(service)
        is_over.set()
        await asyncio.gather(*askers)

        assert (reloads(service, "loaded"), reloads(service, "refused")) == (3, 3)
    assert seen[-1] == "tiny 6"


async def test_a_model_that_was_replaced_is_freed_although_the_collector_rests(
    make_artifact: MakeArtifact,
) -> None:
    async with serving_from(make_artifact().parent) as service:
        make_artifact(version="2")
        await reload(service)
        await version(service)
        second = service.app.state.service.models.find()
        second.myself = second  # what only the collector finds
        is_freed = asyncio.Event()
        loop = asyncio.get_running_loop()
        weakref.finalize(second, loop.call_soon_threadsafe, is_freed.set)
        del second
        gc.disable()
        try:
            make_artifact(version="3")
            await reload(service)
            await asyncio.wait_for(is_freed.wait(), 30)
        finally:
            gc.enable()

        assert await version(service) == "tiny 3"
