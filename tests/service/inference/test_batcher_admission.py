"""How many pictures the batcher lets in, and when it asks others to come back."""

import asyncio

import pytest

from service.errors import DeadlineExceededError, OverloadedError
from service.inference.batcher import Batcher
from service.inference.cost import Plan
from tests.service.batching import answer, batcher_of

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize(("image_s", "patience_s", "retry_after_s"), [(1, 2.0, 2), (4, 5, 7)])
async def test_a_refusal_computes_when_to_come_back(
    image_s: float, patience_s: float, retry_after_s: int
) -> None:
    batcher = batcher_of(answer, 1, 9, image_s=image_s)

    with (
        batcher.admit(2, 60),
        pytest.raises(OverloadedError) as refused,
        batcher.admit(2 if image_s == 1 else 1, patience_s),
    ):
        pass

    assert refused.value.retry_after_s == retry_after_s
    assert batcher.under_way == 0


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (
            1,
            r"takes about 0.5 s even with nothing else in flight.* 0.3 s\. Allow at least 750 ms",
        ),
        (64, "64 images take about 32 s even .* Send fewer at once, or allow at least 48000 ms"),
    ],
)
@pytest.mark.parametrize("under_way", [0, 3])
async def test_what_could_not_even_be_answered_alone_is_not_told_to_come_back(
    count: int, told: str, under_way: int
) -> None:
    batcher = batcher_of(answer, max_queue=100, image_s=0.5)

    with (
        batcher.admit(under_way, 60),
        pytest.raises(DeadlineExceededError, match=told) as refused,
        batcher.admit(count, 0.3),
    ):
        pass

    assert "ry again" not in str(refused.value)
    assert refused.value.retry_after_s is None


@pytest.mark.parametrize("patience_s", [0.4, 0.6])
async def test_where_there_is_no_place_either_the_deadline_decides(patience_s: float) -> None:
    batcher = batcher_of(answer, max_queue=2, image_s=0.5)
    kind = OverloadedError if patience_s > 0.5 else DeadlineExceededError

    with batcher.admit(2, 60), pytest.raises(kind) as refused:
        batcher.refuse_overload(1, patience_s)

    assert (refused.value.retry_after_s is None) == (kind is DeadlineExceededError)


async def test_times_that_would_refuse_everything_are_tried_where_nothing_runs() -> None:
    plan = Plan({1: 100.0})
    batcher = Batcher(answer, plan, max_batch_size=2, max_queue=9, deadline_s=10)

    assert batcher.has_room(1, 10)
    with batcher.admit(1, 10):
        assert not batcher.has_room(1, 10)
        with pytest.raises(DeadlineExceededError):
            batcher.refuse_overload(1, 10)


async def test_a_lone_picture_is_not_let_in_if_a_run_takes_longer_than_its_deadline() -> None:
    plan = Plan({1: 0.043, 2: 0.0834}, instances=2)
    batcher = Batcher(answer, plan, max_batch_size=2, max_queue=9)

    assert not batcher.has_room(1, 0.03)
    assert batcher.has_room(1, 0.05)


async def test_promised_places_are_as_good_as_taken() -> None:
    batcher = batcher_of(answer, max_queue=5)

    with batcher.hold(2), pytest.raises(OverloadedError, match=r"5 images .* 1 do not fit"):
        batcher.refuse_overload(1, 10, promised=3)

    batcher.refuse_overload(1, 10, promised=3)
