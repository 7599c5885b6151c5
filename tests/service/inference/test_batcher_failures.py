"""A failed run reaches exactly its batch, and the next one runs."""

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from model.preprocessing import Pixels
from service.errors import InferenceFailedError
from service.inference.batcher import Batcher
from service.inference.cost import Plan
from service.inference.request import Rows
from tests.service.batching import answer, ask, failing_on, names, pictures, started
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


@pytest.fixture(params=[False, True], ids=["threads", "on loop"])
async def batcher(request: pytest.FixtureRequest) -> AsyncIterator[Batcher]:
    """One that runs in a thread, and one that runs on the event loop."""
    plan = Plan({1: 1e-4}, on_loop=request.param)
    batcher = Batcher(answer, plan, max_batch_size=1, max_queue=9)
    batcher.start()
    async with asyncio.timeout(20):
        yield batcher
        await batcher.stop()


def _raise(*_: object) -> None:
    raise OSError("The disk is full.")


@pytest.mark.parametrize("is_alone", [True, False])
@pytest.mark.parametrize("where", ["observe", "follow"])
async def test_each_picture_is_answered_if_counting_or_measuring_fails(
    where: str,
    is_alone: bool,
    batcher: Batcher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(batcher if where == "observe" else batcher.plan, where, _raise)

    for name in range(3):
        first = batcher.submit(pictures(name), time.perf_counter() + 9, is_alone=is_alone)
        second = batcher.submit(pictures(name + 5), time.perf_counter() + 9)
        assert names([*await first.in_time(), *await second.in_time()]) == [name, name + 5]

    assert not batcher.has_lost_thread()
    assert any("The disk is full" in str(record.exc_info) for record in caplog.records)


async def test_a_batch_whose_answers_cannot_be_handed_out_is_told_so_and_the_next_one_runs(
    batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.inference.batcher.hand_out", _raise)
    lost = [ask(batcher, name) for name in (1, 2)]
    outcomes = await asyncio.gather(*lost, return_exceptions=True)
    monkeypatch.undo()

    assert [type(outcome) for outcome in outcomes] == [InferenceFailedError] * 2
    assert outcomes[0] is not outcomes[1]
    assert names(await ask(batcher, 3)) == [3]


async def test_a_turn_that_fails_on_the_loop_does_not_stop_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batcher = Batcher(answer, Plan({1: 1e-4}, on_loop=True), max_batch_size=1, max_queue=9)
    batcher.start()
    monkeypatch.setattr("service.inference.batcher.run_batch", _raise)
    with pytest.raises(OSError, match="disk is full"):
        batcher.submit(pictures(1), time.perf_counter() + 9, is_alone=True)
    monkeypatch.undo()

    async with asyncio.timeout(5):
        assert names(await ask(batcher, 2)) == [2]


async def test_a_turn_on_the_loop_with_nothing_to_run_ends() -> None:
    batcher = Batcher(answer, Plan({1: 1e-4}, on_loop=True), max_batch_size=1, max_queue=9)
    batcher.start()

    batcher.submit([], time.perf_counter() + 9)

    assert names(await ask(batcher, 2)) == [2]
