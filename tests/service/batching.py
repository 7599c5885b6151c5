"""A batcher with a run of the test's own, and images that are their own names."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import numpy as np

from model.preprocessing import Pixels
from service.errors import InferenceFailedError
from service.inference.admission import Admission
from service.inference.batcher import Batcher
from service.inference.cost import CostModel
from service.inference.outputs import BatchOutputs, ImageOutput
from service.inference.request import PendingRequest
from tests.service.conftest import outputs_of


def image(name: int) -> Pixels:
    return np.full((1, 1, 1), name, np.uint8)


def images_of(*names: int) -> list[Pixels]:
    return [image(name) for name in names]


def names(outputs: list[ImageOutput]) -> list[float]:
    """Which images the outputs are for."""
    return [float(output.probabilities[0]) for output in outputs]


def answer(images: Pixels) -> BatchOutputs:
    """A run that takes no time."""
    return outputs_of(images.reshape(len(images), -1).astype(np.float32))


def failing_on(name: int, batches: list[list[int]]) -> Callable[[Pixels], BatchOutputs]:
    """A run that fails if this image is in the batch."""

    def run(images: Pixels) -> BatchOutputs:
        batches.append(images[:, 0, 0, 0].tolist())
        if name in images:
            raise InferenceFailedError(f"It was {name}.")
        return answer(images)

    return run


def batcher_of(
    run: Callable[[Pixels], BatchOutputs],
    max_batch_size: int = 4,
    instances: int = 1,
) -> Batcher:
    return Batcher(run, CostModel({1: 1e-4}, instances), max_batch_size=max_batch_size)


def admission_of(max_in_flight: int = 100, image_s: float = 1e-4) -> Admission:
    return Admission(CostModel({1: image_s}), max_in_flight)


@asynccontextmanager
async def started(
    run: Callable[[Pixels], BatchOutputs], max_batch_size: int = 4, instances: int = 1
) -> AsyncIterator[Batcher]:
    batcher = batcher_of(run, max_batch_size, instances)
    batcher.start()
    try:
        async with asyncio.timeout(20):
            yield batcher
    finally:
        await batcher.stop()


def submit(batcher: Batcher, *given: int, timeout_s: float = 60) -> PendingRequest:
    """Queue images."""
    return batcher.submit(images_of(*given), time.perf_counter() + timeout_s)


def ask(batcher: Batcher, *given: int) -> asyncio.Future[list[ImageOutput]]:
    """Queue images; await their outputs."""
    return submit(batcher, *given).future


@contextmanager
def admitted(admission: Admission, count: int, timeout_s: float = math.inf) -> Iterator[None]:
    """Occupy slots for a while; whatever is in flight, where there is no time limit."""
    if timeout_s < math.inf:
        admission.acquire(count, timeout_s)
    else:
        admission.in_flight += count
    try:
        yield
    finally:
        admission.release(count)
