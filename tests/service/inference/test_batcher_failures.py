"""A failed run reaches exactly its batch, and the next one runs."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from model.preprocessing import Pixels
from service.errors import InferenceFailedError
from service.inference.batcher import Batcher
from service.inference.cost import CostModel
from service.inference.outputs import BatchOutputs
from tests.service.batching import answer, ask, failing_on, images_of, names, started
from tests.service.conftest import outputs_of

pytestmark = pytest.mark.anyio


async def test_a_failure_reaches_exactly_its_batch_and_the_next_one_runs() -> None:
    batches: list[list[int]] = []
    async with started(failing_on(3, batches), max_batch_size=2) as batcher:
        submitted = [ask(batcher, name) for name in (1, 2, 3, 4, 5)]

        outcomes = await asyncio.gather(*submitted, return_exceptions=True)

    assert batches == [[1, 2], [3, 4], [5]]
    assert [isinstance(outcome, InferenceFailedError) for outcome in outcomes] == [
        False,
        False,
        True,
        True,
        False,
    ]


async def test_the_rest_of_a_failed_request_is_not_run() -> None:
    batches: list[list[int]] = []
    async with started(failing_on(1, batches), max_batch_size=1) as batcher:
        with pytest.raises(InferenceFailedError, match="It was 1"):
            await ask(batcher, 1, 2, 3, 4, 5, 6)

        await ask(batcher, 9)

    assert batches[0] == [1]
    assert batches[-1] == [9]
    assert len(batches) <= 3  # one may have started before the failure was delivered


@pytest.mark.parametrize("rows", [0, 1, 3])
async def test_a_run_that_gives_another_number_of_rows_fails_and_the_next_one_runs(
    rows: int,
) -> None:
    def run(images: Pixels) -> BatchOutputs:
        return outputs_of(np.zeros((rows if len(images) == 2 else len(images), 2), np.float32))

    async with started(run) as batcher:
        with pytest.raises(InferenceFailedError, match="wrong number"):
            await ask(batcher, 1, 2)

        assert len(await ask(batcher, 3)) == 1


async def test_any_exception_of_a_run_is_passed_on() -> None:
    def run(_: Pixels) -> BatchOutputs:
        raise MemoryError("No room.")

    async with started(run) as batcher:
        for _ in range(2):
            with pytest.raises(MemoryError, match="No room"):
                await ask(batcher, 1)


async def test_a_failed_run_is_over() -> None:
    async with started(failing_on(1, [])) as batcher:
        with pytest.raises(InferenceFailedError):
            await ask(batcher, 1)

        assert batcher.stalled_s() == 0


async def test_what_the_engine_was_given_is_counted_answered_or_not() -> None:
    observed: list[int] = []
    run, cost = failing_on(3, []), CostModel({1: 1e-4})
    batcher = Batcher(
        run, cost, max_batch_size=2, on_batch=lambda images, _: observed.append(images)
    )
    batcher.start()

    async with asyncio.timeout(20):
        await asyncio.gather(*(ask(batcher, name) for name in range(5)), return_exceptions=True)
        await batcher.stop()

    assert batcher.executed == 5
    assert sum(observed) == 5


@pytest.fixture(params=[False, True], ids=["threads", "inline"])
async def batcher(request: pytest.FixtureRequest) -> AsyncIterator[Batcher]:
    """One that runs in a thread, and one that runs on the event loop."""
    cost = CostModel({1: 1e-4}, inline=request.param)
    batcher = Batcher(answer, cost, max_batch_size=1)
    batcher.start()
    async with asyncio.timeout(20):
        yield batcher
        await batcher.stop()


def _raise(*_: object) -> None:
    raise OSError("The disk is full.")


@pytest.mark.parametrize("where", ["_on_batch", "update"])
async def test_each_image_is_answered_if_counting_or_measuring_fails(
    where: str,
    batcher: Batcher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(batcher if where == "_on_batch" else batcher.cost, where, _raise)

    for name in range(3):
        first = batcher.submit(images_of(name), time.perf_counter() + 9)
        second = batcher.submit(images_of(name + 5), time.perf_counter() + 9)
        assert names([*await first.wait(), *await second.wait()]) == [name, name + 5]

    assert batcher.stalled_s() < math.inf
    assert any("The disk is full" in str(record.exc_info) for record in caplog.records)


async def test_a_batch_whose_outputs_cannot_be_delivered_fails_and_the_next_one_runs(
    batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.inference.batch.ImageOutput", _raise)
    lost = [ask(batcher, name) for name in (1, 2)]
    outcomes = await asyncio.gather(*lost, return_exceptions=True)
    monkeypatch.undo()

    assert [type(outcome) for outcome in outcomes] == [InferenceFailedError] * 2
    assert outcomes[0] is not outcomes[1]
    assert names(await ask(batcher, 3)) == [3]


async def test_an_inline_batch_that_fails_unforeseen_does_not_stop_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    batcher = Batcher(answer, CostModel({1: 1e-4}, inline=True), max_batch_size=1)
    batcher.start()
    monkeypatch.setattr("service.inference.batch.Batch.run", _raise)
    lost = [ask(batcher, name) for name in (1, 2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    monkeypatch.undo()

    async with asyncio.timeout(5):
        assert names(await ask(batcher, 3)) == [3]
    assert batcher.stalled_s() == 0
    assert ["disk is full" in str(each["exception"]) for each in errors] == [True] * 2
    assert not any(future.done() for future in lost)


async def test_an_inline_runner_with_nothing_to_run_ends() -> None:
    batcher = Batcher(answer, CostModel({1: 1e-4}, inline=True), max_batch_size=1)
    batcher.start()

    batcher.submit([], time.perf_counter() + 9)

    assert names(await ask(batcher, 2)) == [2]
