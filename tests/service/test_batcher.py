import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from model.preprocessing import Pixels
from service.batcher import ON_LOOP_S, Batcher
from service.errors import (
    ClientLeftError,
    DeadlineExceededError,
    InferenceFailedError,
    OverloadedError,
)
from service.plan import Plan
from service.submission import Ride, Rows, Submission
from tests.service.conftest import Answer, Gate

pytestmark = pytest.mark.anyio


def picture(name: int) -> Pixels:
    return np.full((1, 1, 1), name, np.uint8)


def pictures(*names: int) -> list[Pixels]:
    return [picture(name) for name in names]


def names(rides: list[Ride]) -> list[float]:
    """Which pictures the answers are for."""
    return [float(ride.probabilities[0]) for ride in rides]


def answer(images: Pixels) -> Answer:
    """A run that takes no time."""
    return Answer(images.reshape(len(images), -1).astype(np.float32))


def batcher_of(
    run: Callable[[Pixels], Rows],
    max_batch_size: int = 4,
    max_queue: int = 100,
    instances: int = 1,
    image_s: float = 1e-4,
) -> Batcher:
    plan = Plan({1: image_s}, instances)
    return Batcher(run, plan, max_batch_size=max_batch_size, max_queue=max_queue)


@asynccontextmanager
async def started(
    run: Callable[[Pixels], Rows], max_batch_size: int = 4, instances: int = 1
) -> AsyncIterator[Batcher]:
    batcher = batcher_of(run, max_batch_size, instances=instances)
    batcher.start()
    try:
        async with asyncio.timeout(20):
            yield batcher
    finally:
        await batcher.stop()


def submit(batcher: Batcher, *given: int, patience_s: float = 60) -> Submission:
    """Queue pictures."""
    return batcher.submit(pictures(*given), time.perf_counter() + patience_s)


def ask(batcher: Batcher, *given: int) -> asyncio.Future[list[Ride]]:
    """Queue pictures; await their rides."""
    return submit(batcher, *given).answer


async def test_a_lone_picture_rides_at_once_and_alone() -> None:
    async with started(answer) as batcher:
        (ride,) = await ask(batcher, 7)

    assert names([ride]) == [7]
    assert ride.batch_size == 1
    assert ride.queue_s < 0.5


async def test_a_batch_is_what_waited_while_the_engine_was_busy() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        first = ask(batcher, 1)
        await gate.has_entered()
        others = [ask(batcher, 2), ask(batcher, 3, 4)]

        gate.let_through(2)
        rides = await asyncio.gather(first, *others)

    assert gate.batches == [[1], [2, 3, 4]]
    assert [[ride.batch_size for ride in own] for own in rides] == [[1], [3], [3, 3]]


async def test_no_batch_is_larger_than_the_limit() -> None:
    gate = Gate()
    async with started(gate, max_batch_size=4) as batcher:
        task = ask(batcher, *range(10))

        gate.let_through(3)
        rides = await task

    assert gate.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert names(rides) == list(range(10))


async def test_everybody_gets_their_own_answers_in_their_own_order() -> None:
    async with started(answer, max_batch_size=3) as batcher:
        requests = [[start, start + 1, start + 2, start + 3] for start in range(0, 200, 4)]

        rides = await asyncio.gather(*(ask(batcher, *own) for own in requests))

    assert [names(own) for own in rides] == requests


async def test_times_tell_waiting_from_running() -> None:
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


async def test_a_request_cancelled_while_it_rides_disturbs_nobody() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        first = ask(batcher, 1)
        await gate.has_entered()
        leaving, staying = ask(batcher, 2), ask(batcher, 3)
        gate.let_through()
        await gate.has_entered()

        leaving.cancel()
        gate.let_through()
        rides = await asyncio.gather(first, staying)

    assert [names(own) for own in rides] == [[1], [3]]


def failing_on(name: int, batches: list[list[int]]) -> Callable[[Pixels], Rows]:
    """A run that fails if this picture is in the batch."""

    def run(images: Pixels) -> Rows:
        batches.append(images[:, 0, 0, 0].tolist())
        if name in images:
            raise InferenceFailedError(f"It was {name}.")
        return answer(images)

    return run


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


async def test_a_failure_passes_over_who_has_left() -> None:
    gate = Gate()

    def run(images: Pixels) -> Rows:
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


async def test_any_exception_of_a_run_is_passed_on() -> None:
    def run(_: Pixels) -> Rows:
        raise MemoryError("No room.")

    async with started(run) as batcher:
        for _ in range(2):
            with pytest.raises(MemoryError, match="No room"):
                await ask(batcher, 1)


async def test_busy_is_the_time_of_the_run_under_way() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        before = batcher.busy_s()
        task = ask(batcher, 1)
        await gate.has_entered()
        await asyncio.sleep(0.05)
        during = batcher.busy_s()
        gate.let_through()
        await task

        assert before == 0
        assert 0.05 <= during < 10
        assert batcher.busy_s() == 0


async def test_a_failed_run_is_over() -> None:
    async with started(failing_on(1, [])) as batcher:
        with pytest.raises(InferenceFailedError):
            await ask(batcher, 1)

        assert batcher.busy_s() == 0


async def test_no_more_pictures_are_admitted_than_fit() -> None:
    batcher = batcher_of(answer, 1, 5)

    with batcher.admit(3, 10), batcher.admit(2, 10):
        with pytest.raises(OverloadedError, match="5 images are under way") as refused:
            batcher.admit(1, 10).__enter__()
        assert batcher.under_way == 5

    assert refused.value.retry_after_s == 1
    assert batcher.under_way == 0


async def test_a_request_larger_than_what_is_left_is_refused_whole() -> None:
    batcher = batcher_of(answer, 1, 5)

    with batcher.admit(4, 10):
        with pytest.raises(OverloadedError):
            batcher.admit(2, 10).__enter__()

        with batcher.admit(1, 10):
            assert batcher.under_way == 5


@pytest.mark.parametrize("kind", [RuntimeError, asyncio.CancelledError, KeyboardInterrupt])
async def test_places_are_free_again_on_every_exit(kind: type[BaseException]) -> None:
    batcher = batcher_of(answer, 1, 5)

    with pytest.raises(kind), batcher.admit(5, 10):
        raise kind

    assert batcher.under_way == 0


async def test_stop_waits_for_the_run_under_way() -> None:
    gate = Gate()
    batcher = batcher_of(gate, 1, 1)
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
    batcher = batcher_of(answer, 1, 1)

    await batcher.stop()

    assert batcher.under_way == 0


async def test_what_the_engine_was_given_is_counted_answered_or_not() -> None:
    observed: list[int] = []
    async with started(failing_on(3, []), max_batch_size=2) as batcher:
        batcher.observe = lambda size, _: observed.append(size)

        await asyncio.gather(*(ask(batcher, name) for name in range(5)), return_exceptions=True)

    assert batcher.executed == 5
    assert sum(observed) == 5


async def test_two_instances_run_side_by_side() -> None:
    gate = Gate()
    async with started(gate, max_batch_size=1, instances=2) as batcher:
        asked = [ask(batcher, name) for name in (1, 2)]
        await gate.has_entered()
        await gate.has_entered()  # while the first is still under way
        gate.let_through(2)

        rides = await asyncio.gather(*asked)

    assert [names(own) for own in rides] == [[1], [2]]


async def test_a_request_that_left_or_expired_says_so() -> None:
    gate = Gate()
    async with started(gate) as batcher:
        first = ask(batcher, 1)
        await gate.has_entered()
        leaving, late = submit(batcher, 2), submit(batcher, 3, patience_s=-1)
        leaving.leave()
        leaving.leave()
        gate.let_through()
        await first

        with pytest.raises(ClientLeftError):
            await leaving.answer
        with pytest.raises(DeadlineExceededError, match="no answer after"):
            await late.answer

    assert batcher.executed == 1


@pytest.mark.parametrize(("image_s", "patience_s", "retry_after_s"), [(0.5, 1.0, 2), (4, 5, 7)])
async def test_a_refusal_computes_when_to_come_back(
    image_s: float, patience_s: float, retry_after_s: int
) -> None:
    batcher = batcher_of(answer, 1, 9, image_s=image_s)

    with (
        batcher.admit(2, 60),
        pytest.raises(OverloadedError) as refused,
        batcher.admit(4 if image_s == 0.5 else 1, patience_s),
    ):
        pass

    assert refused.value.retry_after_s == retry_after_s
    assert batcher.under_way == 0


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
