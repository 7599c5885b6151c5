"""Cancelled and expired requests are never run, and affect no other request."""

import asyncio

import pytest

from model.preprocessing import Pixels
from service.errors import ClientDisconnectedError, DeadlineExceededError, InferenceFailedError
from service.inference.outputs import BatchOutputs
from tests.service.batching import ask, names, started, submit
from tests.service.conftest import Gate

pytestmark = pytest.mark.anyio


async def test_a_cancelled_request_is_never_run() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        first = ask(batcher, 1)
        await gate.has_entered()
        leaving = ask(batcher, 2, 3)
        staying = ask(batcher, 4)

        leaving.cancel()
        gate.let_through(2)
        await asyncio.gather(first, staying)

    assert leaving.cancelled()
    assert gate.batches == [[1], [4]]


async def test_a_request_cancelled_while_it_runs_affects_no_other() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        first = ask(batcher, 1)
        await gate.has_entered()
        leaving, staying = ask(batcher, 2), ask(batcher, 3)
        gate.let_through()
        await gate.has_entered()

        leaving.cancel()
        gate.let_through()
        outputs = await asyncio.gather(first, staying)

    assert [names(own) for own in outputs] == [[1], [3]]


async def test_a_failure_skips_a_request_that_was_cancelled() -> None:
    gate = Gate()

    def run(images: Pixels) -> BatchOutputs:
        gate(images)
        raise InferenceFailedError("All of it.")

    async with started(run) as batcher:
        leaving, staying = (ask(batcher, n) for n in (1, 2))
        await gate.has_entered()
        leaving.cancel()
        await asyncio.wait([leaving])
        gate.let_through()

        with pytest.raises(InferenceFailedError, match="All of it"):
            await staying

    assert leaving.cancelled()
    assert gate.batches == [[1, 2]]


async def test_a_request_that_was_cancelled_or_expired_says_so() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        first = ask(batcher, 1)
        await gate.has_entered()
        leaving, late = submit(batcher, 2), submit(batcher, 3, timeout_s=-1)
        leaving.cancel()
        leaving.cancel()
        gate.let_through()
        await first

        with pytest.raises(ClientDisconnectedError):
            await leaving.future
        with pytest.raises(DeadlineExceededError, match="No answer after"):
            await late.future

    assert batcher.executed == 1
