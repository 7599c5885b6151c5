"""Where batches run: in threads of their own, or on the event loop.

Threads let the event loop serve other requests while the engine computes. On a single core, for a
small network, they only cost context switches, so the event loop runs the batches itself
(docs/decisions/0012). `Batcher` chooses; it knows runners by `Runner` alone.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from service.inference.batch import Batch, Queue, Run, dequeue
from service.inference.request import PendingRequest

JOIN_S = 10.0

Record = Callable[[Batch], None]
"""Is called on the event loop with each batch that was delivered."""


class Runner(Protocol):
    """Runs queued images in batches; its methods belong to the event loop."""

    def start(self) -> None:
        """Begin to run batches."""

    async def stop(self) -> None:
        """End after the present runs; nothing may be put any more."""

    def put(self, request: PendingRequest) -> None:
        """Queue the images of a request."""

    def queued(self) -> int:
        """Count the images that wait for a run."""

    def stalled_s(self) -> float:
        """Tell for how many seconds the longest present run has been going on; 0 if none is.

        Infinite if images wait and nothing will run them.
        """


class ThreadRunner:
    """Runs batches in threads.

    Outputs go back to the event loop a whole batch at a time: waking it costs as much as a small
    image.

    Args:
        run: The engine's.
        record: See `Record`.
        limit: Images in a batch.
        instances: Threads.
    """

    def __init__(self, run: Run, record: Record, limit: int, instances: int) -> None:
        self._run, self._record = run, record
        self._limit, self._instances = limit, instances
        self._queue: Queue = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running_since: dict[int, float] = {}

    def start(self) -> None:
        """Start the threads."""
        loop = asyncio.get_running_loop()
        for number in range(self._instances):
            thread = threading.Thread(
                target=self._serve, args=(number, loop), name=f"engine-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    async def stop(self) -> None:
        """Stop the threads after their present runs."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)
        for thread in threads:  # daemons: a run that never ends must not hold the process
            await asyncio.to_thread(thread.join, JOIN_S)

    def put(self, request: PendingRequest) -> None:
        """Queue the images of a request."""
        for position in range(len(request.images)):
            self._queue.put((request, position))

    def queued(self) -> int:
        """Count the images that wait for a run."""
        return self._queue.qsize()

    def stalled_s(self) -> float:
        """See `Runner`."""
        if not all(thread.is_alive() for thread in self._threads):
            return math.inf
        now = time.perf_counter()
        return now - min(list(self._running_since.values()), default=now)

    def _serve(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        """Run batches until `stop`; the whole life of one thread."""
        idle_since = time.perf_counter()
        while True:
            batch = dequeue(self._queue, self._limit, wait=True)
            if batch.items or batch.expired:
                self._running_since[number] = time.perf_counter()
                try:
                    batch.run(self._run, None if batch.queue_was_empty else idle_since)
                finally:
                    del self._running_since[number]
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._finish, batch)
            if batch.stop:
                return
            del batch  # with all outputs; the next batch may be long in coming
            idle_since = time.perf_counter()

    def _finish(self, batch: Batch) -> None:
        batch.deliver()
        self._record(batch)


class InlineRunner:
    """Runs batches on the event loop, one an iteration, so that other work goes on in between.

    Args:
        run: The engine's.
        record: See `Record`.
        limit: Images in a batch.
    """

    def __init__(self, run: Run, record: Record, limit: int) -> None:
        self._run, self._record, self._limit = run, record, limit
        self._queue: Queue = SimpleQueue()
        self._is_scheduled = False
        self._idle_since: float | None = None

    def start(self) -> None:
        """Do nothing: `put` schedules the runs."""

    async def stop(self) -> None:
        """Do nothing: no run is in progress while a coroutine is."""

    def put(self, request: PendingRequest) -> None:
        """Queue the images of a request."""
        for position in range(len(request.images)):
            self._queue.put((request, position))
        if not self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._run_next, 1)
            self._is_scheduled = True

    def queued(self) -> int:
        """Count the images that wait for a run."""
        return self._queue.qsize()

    def stalled_s(self) -> float:
        """See `Runner`."""
        return math.inf if self._queue.qsize() and not self._is_scheduled else 0.0

    def _run_next(self, seen: int) -> None:
        """Run one batch.

        If more images wait than were seen at the last check, yield once more so that others can
        join them. A single image runs at once.
        """
        waiting = self._queue.qsize()
        if seen < waiting < self._limit:
            asyncio.get_running_loop().call_soon(self._run_next, waiting)
            return
        since, self._idle_since = self._idle_since, None
        try:
            batch = dequeue(self._queue, self._limit, wait=False)
            batch.run(self._run, since)
            batch.deliver()
            self._record(batch)
            self._idle_since = batch.ended if self._queue.qsize() else None
        finally:
            self._is_scheduled = False
            if self._queue.qsize():
                asyncio.get_running_loop().call_soon(self._run_next, 1)
                self._is_scheduled = True
