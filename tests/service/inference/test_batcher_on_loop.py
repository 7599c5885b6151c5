"""A batcher without threads: on the loop, in turns that others can wait for."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from model.preprocessing import Pixels
from service.inference.batcher import ON_LOOP_S, Batcher
from service.inference.cost import Plan
from service.inference.request import Rows
from tests.service.batching import answer, ask, names, pictures

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def on_loop(
    run: Callable[[Pixels], Rows], seconds: dict[int, float]
) -> AsyncIterator[Batcher]:
    """A batcher without threads."""
    batcher = Batcher(run, Plan(seconds, on_loop=True), max_batch_size=8, max_queue=100)
    batcher.start()
    async with asyncio.timeout(20):
        yield batcher
        await batcher.stop()


async def test_on_the_loop_a_batch_is_what_came_in_together() -> None:
    threads: list[str] = []

    def run(images: Pixels) -> Rows:
        threads.append(threading.current_thread().name)
        return answer(images)

    async with on_loop(run, {8: 0.001}) as batcher:
        rides = await asyncio.gather(*(ask(batcher, name) for name in range(5)))

    assert [names(own) for own in rides] == [[0], [1], [2], [3], [4]]
    assert {ride.batch_size for own in rides for ride in own} == {5}
    assert threads == [threading.current_thread().name]


async def test_on_the_loop_no_run_lasts_longer_than_others_can_wait() -> None:
    seconds = {1: ON_LOOP_S / 4, 2: ON_LOOP_S / 2, 4: ON_LOOP_S, 8: ON_LOOP_S * 2}
    async with on_loop(answer, seconds) as batcher:
        rides = await ask(batcher, *range(8))

    assert [ride.batch_size for ride in rides] == [4] * 8


async def test_on_the_loop_others_have_their_turn_between_two_batches() -> None:
    turns: list[str] = []

    def run(images: Pixels) -> Rows:
        turns.append("batch")
        return answer(images)

    async with on_loop(run, {1: 0.001}) as batcher:
        asked = ask(batcher, *range(3))
        while not asked.done():
            turns.append("other")
            await asyncio.sleep(0)

    assert turns.count("batch") == 3
    assert "batch batch" not in " ".join(turns)


async def test_on_the_loop_a_picture_that_is_alone_runs_at_once() -> None:
    async with on_loop(answer, {8: 0.001}) as batcher:
        alone = batcher.submit(pictures(3), time.perf_counter() + 10, is_alone=True)
        assert alone.answer.done()
        assert names(await alone.in_time()) == [3]

        company = batcher.submit(pictures(4), time.perf_counter() + 10)
        assert not company.answer.done()
        assert names(await company.in_time()) == [4]


async def test_on_the_loop_a_picture_waits_for_those_that_came_before_it() -> None:
    async with on_loop(answer, {8: 0.001}) as batcher:
        first = batcher.submit(pictures(1), time.perf_counter() + 10)
        second = batcher.submit(pictures(2), time.perf_counter() + 10, is_alone=True)

        rides = [*await first.in_time(), *await second.in_time()]

    assert names(rides) == [1, 2]
    assert {ride.batch_size for ride in rides} == {2}
