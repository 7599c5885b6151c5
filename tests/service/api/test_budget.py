"""The memory that bodies share: a reserve for small ones, a minimum rate, and eviction."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from service import memory
from service.api import budget as budget_module
from service.api.body import receive
from service.api.budget import RESERVED_BYTES, BodyBudget, Upload
from service.api.problems import error_response_for
from service.errors import OverloadedError, RequestTimeoutError, ServiceError

pytestmark = pytest.mark.anyio

MEGABYTE = 1_048_576
LIMIT, LARGEST = 256 * MEGABYTE, 10 * MEGABYTE
STALLED, HONEST = ("192.0.2.1", 1), ("192.0.2.2", 2)


async def never() -> dict[str, Any]:
    """Wait for the next piece of a body, which does not come."""
    await asyncio.sleep(60)
    raise AssertionError


class Bodies:
    """Bodies that have stalled, each received by its own task."""

    def __init__(self, budget: BodyBudget) -> None:
        self.budget = budget
        self.uploads: list[Upload] = []
        self._tasks: list[asyncio.Task[bytes]] = []
        self._held = ExitStack()

    async def stall(
        self, count: int, size: int, client: tuple[str, int] = STALLED, age_s: float = 0.0
    ) -> None:
        """Have so many bodies wait for their last byte."""
        for _ in range(count):
            upload = self._held.enter_context(Upload(self.budget, client))
            self._tasks.append(asyncio.create_task(receive(never, None, LARGEST, upload=upload)))
            await asyncio.sleep(0)
            with_room = min(size, self.budget.limit - self.budget.buffered)
            upload.charge(with_room)
            upload.window_began -= age_s
            self.uploads.append(upload)

    async def ended(self) -> list[BaseException]:
        """Let those that were ended end; what they raised."""
        await asyncio.sleep(0.01)
        return [error for task in self._tasks if task.done() and (error := task.exception())]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._held.close()


@pytest.fixture
async def bodies() -> Any:
    bodies = Bodies(BodyBudget(LIMIT, LARGEST))
    yield bodies
    bodies.close()


async def test_small_bodies_have_room_beside_large_ones(bodies: Bodies) -> None:
    with pytest.raises(OverloadedError):
        await bodies.stall(30, 10 * MEGABYTE - 1)

    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(Upload(bodies.budget, STALLED)).charge(RESERVED_BYTES)

        assert bodies.budget.buffered <= LIMIT
    assert await bodies.ended() == []


@pytest.mark.parametrize("size", [10 * MEGABYTE - 1, RESERVED_BYTES, 100_000])
async def test_slow_bodies_make_room(bodies: Bodies, size: int) -> None:
    await bodies.stall(LIMIT // size + 1, size, age_s=1)

    with Upload(bodies.budget, STALLED) as small, Upload(bodies.budget, STALLED) as large:
        small.charge(RESERVED_BYTES)
        for _ in range(40):
            large.charge(RESERVED_BYTES)

        assert bodies.budget.buffered <= LIMIT
    ended = await bodies.ended()
    assert {type(error) for error in ended} == {OverloadedError}
    assert len(ended) <= (LIMIT / 8 + LARGEST + RESERVED_BYTES) / size + 1


async def test_what_holds_most_for_longest_is_ended_first(bodies: Bodies) -> None:
    await bodies.stall(10, MEGABYTE, age_s=1)
    await bodies.stall(26, 10 * MEGABYTE, age_s=1)

    with Upload(bodies.budget, HONEST) as upload:
        upload.charge(8 * MEGABYTE)

    assert await bodies.ended()
    assert all(upload.buffered for upload in bodies.uploads[:10])


async def test_the_client_that_holds_most_makes_room_for_others(bodies: Bodies) -> None:
    await bodies.stall(22, 10 * MEGABYTE)

    with Upload(bodies.budget, HONEST) as upload:
        upload.charge(10 * MEGABYTE)

    assert len(await bodies.ended()) == 1


async def test_clients_of_equal_shares_do_not_end_one_another(bodies: Bodies) -> None:
    await bodies.stall(11, 10 * MEGABYTE, STALLED)
    await bodies.stall(11, 10 * MEGABYTE, HONEST)

    for client in (STALLED, HONEST):
        with Upload(bodies.budget, client) as upload, pytest.raises(OverloadedError) as refused:
            upload.charge(5 * MEGABYTE)

        assert refused.value.retry_after_s == 1
    assert await bodies.ended() == []


async def test_a_body_that_is_whole_is_not_ended(bodies: Bodies) -> None:
    with ExitStack() as held:
        for _ in range(22):
            held.enter_context(Upload(bodies.budget, STALLED)).charge(10 * MEGABYTE)

        with pytest.raises(OverloadedError), Upload(bodies.budget, HONEST) as upload:
            upload.charge(10 * MEGABYTE)

    assert bodies.budget.buffered == 0


async def test_an_ended_body_takes_no_more(bodies: Bodies) -> None:
    await bodies.stall(1, MEGABYTE)

    bodies.uploads[0].evict()
    with pytest.raises(OverloadedError):
        bodies.uploads[0].charge(1)

    assert bodies.budget.buffered == 0


async def test_the_largest_body_fits_a_budget_for_one() -> None:
    budget = BodyBudget(LARGEST, LARGEST)

    with Upload(budget) as upload:
        upload.charge(LARGEST)

        assert budget.buffered == LARGEST


class Trickle:
    """A body that comes in pieces, with pauses."""

    def __init__(self, pieces: int, size: int, pause_s: float) -> None:
        self._left, self._size, self._pause_s = pieces, size, pause_s

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(self._pause_s)
        self._left -= 1
        return {"type": "http.request", "body": bytes(self._size), "more_body": self._left > 0}


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> BodyBudget:
    """A budget that wants 10,000 bytes a second, over 0.2 s."""
    monkeypatch.setattr(budget_module, "WINDOW_S", 0.2)
    return BodyBudget(LIMIT, LARGEST, 10_000)


@pytest.mark.parametrize("first", [1, 100_000])
async def test_a_trickle_is_ended_by_its_rate(first: int, short_window: BodyBudget) -> None:
    trickle = Trickle(1_000, 1, 0.02)

    with Upload(short_window) as upload:
        upload.charge(first)
        with pytest.raises(RequestTimeoutError) as ended:
            await receive(trickle, None, LARGEST, upload=upload)

    assert "fewer than 10,000 a second" in str(ended.value)
    assert "RESNET_MIN_RECEIVE_BYTES_S" in str(ended.value)
    assert short_window.buffered == 0


async def test_a_slow_body_at_the_minimum_rate_is_received(short_window: BodyBudget) -> None:
    with Upload(short_window) as upload:
        body = await receive(Trickle(15, 1_000, 0.03), None, LARGEST, upload=upload)

    assert len(body) == 15_000


async def test_the_time_for_the_whole_body_goes_on_beside_the_rate(
    short_window: BodyBudget,
) -> None:
    with Upload(short_window) as upload, pytest.raises(RequestTimeoutError, match=r"within 0\.3 s"):
        await receive(Trickle(1_000, 1_000, 0.03), None, LARGEST, timeout_s=0.3, upload=upload)


@pytest.mark.parametrize("path", ["/predict", "/v2/models/m/infer"])
def test_the_connection_of_a_slow_body_is_closed(path: str) -> None:
    error: ServiceError = RequestTimeoutError("It came too slowly.")

    assert error_response_for(path, error).headers["connection"] == "close"


async def test_the_heap_is_trimmed_when_many_bytes_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trimmed: list[float] = []
    monkeypatch.setattr(memory, "TRIM_DELAY_S", 0.05)
    monkeypatch.setattr(memory, "trim", lambda: trimmed.append(0))
    budget = BodyBudget(LIMIT, LARGEST)

    async def pass_through(bodies: int) -> list[float]:
        for _ in range(bodies):
            with Upload(budget) as upload:
                upload.charge(LARGEST)
        await asyncio.sleep(0.075)
        return [*trimmed]

    assert await pass_through(3) == []
    assert await pass_through(1) == [0]
    assert await pass_through(8) == [0]  # as many again have gone meanwhile
    await asyncio.sleep(0.05)
    assert trimmed == [0, 0]
    memory.trim()
