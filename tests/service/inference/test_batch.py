"""One turn: what is taken from a queue that others take from, too."""

import asyncio
import time
from queue import Empty, SimpleQueue
from typing import cast

import pytest

from service.inference.batch import Waiting, take
from service.inference.request import Submission
from tests.service.batching import answer, ask, batcher_of, pictures

pytestmark = pytest.mark.anyio


class Contested:
    """A queue whose only item another thread takes the moment before; one more comes later."""

    def __init__(self, item: Waiting) -> None:
        self.later = item

    def empty(self) -> bool:
        return False

    def get_nowait(self) -> Waiting:
        raise Empty

    def get(self) -> Waiting:
        return self.later


async def test_who_was_forestalled_had_to_wait() -> None:
    asked = asyncio.get_running_loop().create_future()
    waiting = Waiting(Submission(pictures(1), time.perf_counter() + 60, asked, frozenset()), 0)

    taken = take(cast("SimpleQueue[Waiting | None]", Contested(waiting)), 4)

    assert taken.had_to_wait
    assert len(taken.batch) == 1


async def test_who_found_something_did_not_wait() -> None:
    asked = asyncio.get_running_loop().create_future()
    waiting = Waiting(Submission(pictures(1), time.perf_counter() + 60, asked, frozenset()), 0)
    queue: SimpleQueue[Waiting | None] = SimpleQueue()
    queue.put(waiting)

    assert not take(queue, 4).had_to_wait


async def test_the_time_before_the_first_picture_is_no_run() -> None:
    batcher = batcher_of(answer)

    asked = ask(batcher, 1)  # it waits when the thread begins
    batcher.start()
    await asked
    await batcher.stop()

    assert batcher.plan.per_image_s < 2
