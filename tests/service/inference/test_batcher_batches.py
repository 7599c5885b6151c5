"""Which images run together, and that each request gets its own outputs."""

import asyncio

import pytest

from tests.service.batching import answer, ask, names, started
from tests.service.conftest import Gate

pytestmark = pytest.mark.anyio


async def test_a_single_image_runs_at_once_and_alone() -> None:
    async with started(answer) as batcher:
        (output,) = await ask(batcher, 7)

    assert names([output]) == [7]
    assert output.batch_size == 1
    assert output.queue_s < 0.5


async def test_a_batch_is_what_waited_while_the_engine_was_busy() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        first = ask(batcher, 1)
        await gate.has_entered()
        others = [ask(batcher, 2), ask(batcher, 3, 4)]

        gate.let_through(2)
        outputs = await asyncio.gather(first, *others)

    assert gate.batches == [[1], [2, 3, 4]]
    assert [[output.batch_size for output in own] for own in outputs] == [[1], [3], [3, 3]]


async def test_no_batch_is_larger_than_the_limit() -> None:
    gate = Gate()
    async with started(gate, max_batch_size=4) as batcher:
        task = ask(batcher, *range(10))

        gate.let_through(3)
        outputs = await task

    assert gate.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert names(outputs) == list(range(10))


async def test_each_request_gets_its_own_outputs_in_its_own_order() -> None:
    async with started(answer, max_batch_size=3) as batcher:
        requests = [[start, start + 1, start + 2, start + 3] for start in range(0, 200, 4)]

        outputs = await asyncio.gather(*(ask(batcher, *own) for own in requests))

    assert [names(own) for own in outputs] == requests


async def test_two_instances_run_side_by_side() -> None:
    gate = Gate()
    async with started(gate, max_batch_size=1, instances=2) as batcher:
        asked = [ask(batcher, name) for name in (1, 2)]
        await gate.has_entered()
        await gate.has_entered()  # while the first is in progress
        gate.let_through(2)

        outputs = await asyncio.gather(*asked)

    assert [names(own) for own in outputs] == [[1], [2]]
