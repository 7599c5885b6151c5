"""What is dequeued from a queue that others dequeue from, too."""

import asyncio
import time
from queue import Empty, SimpleQueue
from typing import cast

import pytest

from service.errors import ClientDisconnectedError
from service.inference.batch import Queue, QueuedImage, dequeue
from service.inference.request import DeadlineTimer, PendingRequest
from tests.service.batching import answer, ask, batcher_of, images_of

pytestmark = pytest.mark.anyio


class Contested:
    """A queue whose only item another thread takes the moment before; one more comes later."""

    def __init__(self, item: QueuedImage) -> None:
        self.later = item

    def empty(self) -> bool:
        return False

    def get_nowait(self) -> QueuedImage:
        raise Empty

    def get(self) -> QueuedImage:
        return self.later


def queued_image(timeout_s: float = 60) -> QueuedImage:
    future = asyncio.get_running_loop().create_future()
    return PendingRequest(images_of(1), time.perf_counter() + timeout_s, future, DeadlineTimer()), 0


async def test_a_queue_that_another_thread_has_emptied_was_empty() -> None:
    batch = dequeue(cast("Queue", Contested(queued_image())), 4, wait=True)

    assert batch.queue_was_empty
    assert len(batch.items) == 1


async def test_a_queue_with_an_image_was_not_empty() -> None:
    queue: Queue = SimpleQueue()
    queue.put(queued_image())

    assert not dequeue(queue, 4, wait=True).queue_was_empty


async def test_an_empty_queue_does_not_block_whoever_may_not_wait() -> None:
    batch = dequeue(SimpleQueue(), 4, wait=False)

    assert (batch.items, batch.expired, batch.stop) == ([], [], False)


async def test_expired_and_ended_requests_are_not_in_the_batch() -> None:
    queue: Queue = SimpleQueue()
    expired, ended, last = queued_image(-1), queued_image(), queued_image()
    ended[0].cancel()
    for item in (expired, ended, last, None):
        queue.put(item)

    batch = dequeue(queue, 4, wait=False)

    assert batch.items == [last]
    assert batch.expired == [expired[0]]
    assert batch.stop
    assert isinstance(ended[0].future.exception(), ClientDisconnectedError)


async def test_the_time_before_the_first_image_is_no_run() -> None:
    batcher = batcher_of(answer)

    asked = ask(batcher, 1)  # it waits when the thread begins
    batcher.start()
    await asked
    await batcher.stop()

    assert batcher.cost.per_image_s < 2
