"""A batcher whose run the test hands it, and pictures that are their own names."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np

from model.preprocessing import Pixels
from service.errors import InferenceFailedError
from service.inference.batcher import Batcher
from service.inference.cost import Plan
from service.inference.request import Ride, Rows, Submission
from tests.service.conftest import Answer


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


def failing_on(name: int, batches: list[list[int]]) -> Callable[[Pixels], Rows]:
    """A run that fails if this picture is in the batch."""

    def run(images: Pixels) -> Rows:
        batches.append(images[:, 0, 0, 0].tolist())
        if name in images:
            raise InferenceFailedError(f"It was {name}.")
        return answer(images)

    return run


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
