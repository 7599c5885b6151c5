"""Times of waiting and running, and that `stop` waits for the present run."""

import asyncio
import threading
import time

import pytest

from tests.service.batching import answer, ask, batcher_of, started
from tests.service.conftest import Gate

pytestmark = pytest.mark.anyio


async def test_waiting_and_running_are_timed_apart() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        first = ask(batcher, 1)
        await gate.has_entered()
        second = ask(batcher, 2)
        await asyncio.sleep(0.6)
        gate.let_through(2)
        (one,), (two,) = await asyncio.gather(first, second)

    assert one.infer_s >= 0.59
    assert two.queue_s >= 0.59
    assert one.queue_s < 0.5
    assert two.infer_s < 0.5


async def test_a_run_stalls_for_as_long_as_it_lasts() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        before = batcher.stalled_s()
        task = ask(batcher, 1)
        await gate.has_entered()
        await asyncio.sleep(0.05)
        during = batcher.stalled_s()
        gate.let_through()
        await task

        assert before == 0
        assert 0.05 <= during < 10
        assert batcher.stalled_s() == 0


async def test_stop_waits_for_the_present_run() -> None:
    gate = Gate()
    batcher = batcher_of(gate, 1)
    batcher.start()
    task = ask(batcher, 1)
    await gate.has_entered()

    opener = threading.Timer(0.1, gate.let_through)
    began = time.perf_counter()
    opener.start()
    await batcher.stop()
    took_s = time.perf_counter() - began
    task.cancel()

    assert 0.09 < took_s < 10


async def test_stop_before_the_start_is_allowed() -> None:
    batcher = batcher_of(answer, 1)

    await batcher.stop()

    assert batcher.stalled_s() == 0
