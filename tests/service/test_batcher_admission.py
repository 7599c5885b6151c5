"""How many pictures the batcher lets in, and when it asks others to come back."""

import asyncio

import pytest

from service.errors import OverloadedError
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
