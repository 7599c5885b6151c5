"""A failed run reaches exactly its batch, and the next one runs."""

import asyncio

import numpy as np
import pytest

from model.preprocessing import Pixels
from service.errors import InferenceFailedError
from service.submission import Rows
from tests.service.batching import ask, failing_on, started
from tests.service.conftest import Answer

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
    assert len(batches) <= 3  # one may have begun before the failure was told


@pytest.mark.parametrize("rows", [0, 1, 3])
async def test_a_run_that_gives_another_number_of_rows_fails_and_the_next_one_runs(
    rows: int,
) -> None:
    def run(images: Pixels) -> Rows:
        return Answer(np.zeros((rows if len(images) == 2 else len(images), 2), np.float32))

    async with started(run) as batcher:
        with pytest.raises(InferenceFailedError, match="another number"):
            await ask(batcher, 1, 2)

        assert len(await ask(batcher, 3)) == 1


async def test_any_exception_of_a_run_is_passed_on() -> None:
    def run(_: Pixels) -> Rows:
        raise MemoryError("No room.")

    async with started(run) as batcher:
        for _ in range(2):
            with pytest.raises(MemoryError, match="No room"):
                await ask(batcher, 1)


async def test_a_failed_run_is_over() -> None:
    async with started(failing_on(1, [])) as batcher:
        with pytest.raises(InferenceFailedError):
            await ask(batcher, 1)

        assert batcher.busy_s() == 0


async def test_what_the_engine_was_given_is_counted_answered_or_not() -> None:
    observed: list[int] = []
    async with started(failing_on(3, []), max_batch_size=2) as batcher:
        batcher.observe = lambda size, _: observed.append(size)

        await asyncio.gather(*(ask(batcher, name) for name in range(5)), return_exceptions=True)

    assert batcher.executed == 5
    assert sum(observed) == 5
