"""Between requests and the engine: a bounded queue and greedy batches.

A batch is whatever waited while the engine was busy, up to a limit. There is no timer:
a lone picture never waits. Pictures of one request may ride in several batches, and a
batch may carry pictures of many requests. A request that was cancelled leaves the queue
and is never run.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.preprocessing import Pixels
from service.errors import OverloadedError

Floats = NDArray[np.float32]


class Rows(Protocol):
    """What a run of the engine gives for a batch."""

    @property
    def probabilities(self) -> Floats:
        """float32 (N, K)."""


class Ride(NamedTuple):
    """A picture's way through the queue and the engine; times in seconds."""

    probabilities: Floats  # (K,)
    queue_s: float
    infer_s: float
    batch_size: int


@dataclass(frozen=True)
class _Waiting:
    pixels: Pixels
    answer: "asyncio.Future[Ride]"
    since: float


class Batcher:
    """Collects pictures, runs them in one thread, hands each its answer.

    Args:
        run: uint8 (N, S, S, C) -> rows in the same order; called in a thread of its own.
        max_batch_size: Pictures in one run.
        max_queue: Pictures that may be under way, from the door to the answer.
    """

    def __init__(
        self, run: Callable[[Pixels], Rows], *, max_batch_size: int, max_queue: int
    ) -> None:
        """Prepare; nothing runs before `start`."""
        self.max_queue = max_queue
        self.under_way = 0
        self._run = run
        self._max_batch_size = max_batch_size
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._worker: asyncio.Task[None] | None = None
        self._busy_since: float | None = None

    def start(self) -> None:
        """Begin to serve the queue; to be called on the event loop."""
        self._worker = asyncio.create_task(self._serve(), name="batcher")

    async def stop(self) -> None:
        """End after the run under way."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown()

    def busy_s(self) -> float:
        """Tell for how many seconds the present run has been going on; 0 between runs."""
        return 0.0 if self._busy_since is None else time.perf_counter() - self._busy_since

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Hold places for pictures from before they are decoded until they are answered.

        Raises:
            OverloadedError: If there are not enough; the client may come back in a second.
        """
        if self.under_way + count > self.max_queue:
            raise OverloadedError(
                f"{self.under_way} images are under way and {self.max_queue} are allowed; "
                f"{count} more do not fit. Try again in a second, or raise RESNET_MAX_QUEUE.",
                retry_after_s=1,
            )
        self.under_way += count
        try:
            yield
        finally:
            self.under_way -= count

    async def submit(self, images: list[Pixels]) -> list[Ride]:
        """Queue the pictures of one request and wait for all answers, in order.

        Args:
            images: uint8 (S, S, C) each.

        Raises:
            ServiceError: What the engine raised for a batch that one of them rode in.
        """
        loop, now = asyncio.get_running_loop(), time.perf_counter()
        waiting = [_Waiting(pixels, loop.create_future(), now) for pixels in images]
        self._queue.extend(waiting)
        self._arrived.set()
        try:
            return await asyncio.gather(*(item.answer for item in waiting))
        finally:
            for item in waiting:  # after a failure, the rest need not run
                item.answer.cancel()

    async def _serve(self) -> None:
        while True:
            batch = self._take()
            if batch:
                await self._ride(batch)
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def _take(self) -> list[_Waiting]:
        """Take what waits, up to the limit; pass over what was cancelled."""
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._max_batch_size:
            item = self._queue.popleft()
            if not item.answer.done():
                batch.append(item)
        return batch

    async def _ride(self, batch: list[_Waiting]) -> None:
        """Run a batch; an error reaches exactly the pictures in it, and the loop goes on."""
        loop = asyncio.get_running_loop()
        began = self._busy_since = time.perf_counter()
        try:
            stacked = np.stack([item.pixels for item in batch])  # (N, S, S, C)
            rows = (await loop.run_in_executor(self._thread, self._run, stacked)).probabilities
            answered = list(zip(batch, rows, strict=True))
        except Exception as error:  # noqa: BLE001  # whatever it was, the next batch must run
            for item in batch:
                if not item.answer.done():
                    item.answer.set_exception(error)
            return
        finally:
            self._busy_since = None
        infer_s = time.perf_counter() - began
        for item, row in answered:
            if not item.answer.done():
                item.answer.set_result(Ride(row, began - item.since, infer_s, len(batch)))
