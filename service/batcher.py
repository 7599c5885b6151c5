"""Between requests and the engine: a bounded queue and greedy batches.

A batch is whatever waited while the engine was busy, up to a limit. There is no timer:
a lone picture never waits. Pictures of one request may ride in several batches, and a
batch may carry pictures of many requests. What is cancelled or too late leaves the queue
and is never run.

Threads: `admit`, `submit` and `leave` belong to the event loop, the runs to one thread
an instance. A queue that both sides may touch lies between them; answers go back to the
loop a whole batch at a time, since waking it costs as much as a small picture.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np

from model.preprocessing import Pixels
from service.errors import (
    InferenceFailedError,
    OverloadedError,
)
from service.plan import Plan
from service.submission import Ride, Rows, Submission

JOIN_S = 10.0


class _Waiting(NamedTuple):
    submission: Submission
    position: int


class _Riding(NamedTuple):
    pixels: Pixels
    submission: Submission
    position: int


@dataclass(frozen=True)
class _Done:
    """What a thread reports to the event loop after one turn."""

    batch: Sequence[_Riding]
    late: Sequence[Submission]
    rows: Rows | None
    error: Exception | None
    began: float
    ended: float


class Batcher:
    """Collects pictures, runs them in threads of its own, hands each its answer.

    Args:
        run: uint8 (N, S, S, C), and the names of further outputs if a picture wants any -> rows
            in the same order.
        plan: Times of the engine, for admission; it learns from the runs.
        max_batch_size: Pictures in one run.
        max_queue: Pictures that may be under way, from the door to the answer.
        observe: Called on the loop after each run with its size and seconds.
    """

    def __init__(
        self,
        run: Callable[..., Rows],
        plan: Plan,
        *,
        max_batch_size: int,
        max_queue: int,
        observe: Callable[[int, float], None] = lambda _size, _seconds: None,
    ) -> None:
        """Prepare; nothing runs before `start`."""
        self.max_queue = max_queue
        self.plan = plan
        self.under_way = 0
        self.executed = 0  # pictures that the engine was given, answered or not
        self.observe = observe
        self._run = run
        self._max_batch_size = max_batch_size
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy_since: dict[int, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to serve the queue; to be called on the event loop."""
        self._loop = asyncio.get_running_loop()
        for number in range(self.plan.instances):
            thread = threading.Thread(
                target=self._serve, args=(number,), name=f"engine-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    async def stop(self) -> None:
        """End after the runs under way; nothing may be submitted any more."""
        for _ in self._threads:
            self._queue.put(None)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:  # daemons: a run that never ends must not hold the process
            thread.join(JOIN_S)

    def busy_s(self) -> float:
        """Tell for how many seconds the longest present run has been going on; 0 if none."""
        since = min(list(self._busy_since.values()), default=None)
        return 0.0 if since is None else time.perf_counter() - since

    def queued(self) -> int:
        """Count the pictures that wait for a run."""
        return self._queue.qsize()

    @contextmanager
    def admit(self, count: int, patience_s: float) -> Iterator[None]:
        """Hold places for pictures from before they are decoded until they are answered.

        Args:
            count: Pictures.
            patience_s: Seconds until the request's deadline.

        Raises:
            OverloadedError: If there are not enough places, or the engine's measured rate
                says that the answer would come too late. It says when to come back.
        """
        self.refuse_overload(count, patience_s)
        self.under_way += count
        try:
            yield
        finally:
            self.under_way -= count

    def refuse_overload(self, count: int, patience_s: float) -> None:
        """Say early what `admit` would say, before a body is read for nothing.

        Raises:
            OverloadedError: See `admit`.
        """
        waiting, limit = self.under_way, self.max_queue
        need_s = self.plan.wait_s(waiting + count, is_idle=not waiting)
        if waiting + count > limit:
            message = f"{waiting} images are under way and {limit} are allowed; {count} do not fit."
            wait_s = self.plan.wait_s(waiting + count - limit)
        elif need_s > patience_s:
            message = (
                f"{waiting} images are under way, so the answer would take about {need_s:.2g} s; "
                f"the deadline is in {patience_s:.2g} s."
            )
            wait_s = need_s - patience_s
        else:
            return
        retry_after_s = max(1, math.ceil(wait_s))
        raise OverloadedError(
            f"{message} Try again in {retry_after_s} s, or raise RESNET_MAX_QUEUE and "
            "RESNET_DEADLINE_MS.",
            retry_after_s=retry_after_s,
        )

    def submit(
        self, images: Sequence[Pixels], deadline: float, extras: frozenset[str] = frozenset()
    ) -> Submission:
        """Queue the pictures of one request.

        Args:
            images: uint8 (S, S, C) each.
            deadline: On `time.perf_counter`'s clock.
            extras: More outputs than plain requests want; batch-mates get them too.

        Returns:
            Its `answer` brings all rides in order, or what the engine raised for a batch
            that one of them rode in, or `DeadlineExceededError`, or `ClientLeftError`.
        """
        loop = self._loop or asyncio.get_running_loop()
        submission = Submission(images, deadline, loop.create_future(), extras)
        for position in range(len(images)):
            self._queue.put(_Waiting(submission, position))
        return submission

    def _serve(self, number: int) -> None:
        """Run batches until told to end; the whole life of one thread."""
        idle_since = 0.0
        while True:
            batch, late, waited, goes_on = self._take()
            if batch or late:
                done = self._turn(number, batch, late)
                if batch and done.error is None:
                    began = done.began if waited else idle_since
                    self.plan.follow(len(batch), done.ended - began)
                self._report(done)
            if not goes_on:
                return
            idle_since = time.perf_counter()

    def _take(self) -> tuple[list[_Riding], list[Submission], bool, bool]:
        """Wait for a picture, then take what is there, up to the limit.

        Returns:
            The batch, the requests that are too late, whether the queue was empty at first,
            and whether the thread shall go on.
        """
        batch: list[_Riding] = []
        late: list[Submission] = []
        waited = self._queue.empty()
        item = self._queue.get()
        now = time.perf_counter()
        while item is not None:
            submission, position = item
            images = submission.images  # the event loop may take them away meanwhile
            if submission.deadline < now:
                late.append(submission)
            elif images and not submission.answer.done():
                batch.append(_Riding(images[position], submission, position))
            if len(batch) == self._max_batch_size:
                break
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
        return batch, late, waited, item is not None

    def _turn(self, number: int, batch: list[_Riding], late: list[Submission]) -> _Done:
        """Run a batch; an error is kept for exactly the pictures in it."""
        rows: Rows | None = None
        error: Exception | None = None
        began = self._busy_since[number] = time.perf_counter()
        try:
            if batch:
                stacked = np.stack([item.pixels for item in batch])  # (N, S, S, C)
                extras = frozenset().union(*(item.submission.extras for item in batch))
                rows = self._run(stacked, extras) if extras else self._run(stacked)
                if not len(rows.logits) == len(rows.probabilities) == len(batch):
                    raise InferenceFailedError("The engine answered another number of images.")
        except Exception as raised:  # noqa: BLE001  # whatever it was, the next batch must run
            rows, error = None, raised
            for item in batch:
                item.submission.images = ()  # at once: the next batch may begin before it is told
        finally:
            del self._busy_since[number]
        return _Done(batch, late, rows, error, began, time.perf_counter())

    def _report(self, done: _Done) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, done)

    def _deliver(self, done: _Done) -> None:
        """Hand out the answers of one batch, on the event loop."""
        for submission in done.late:
            submission.expire()
        size, seconds = len(done.batch), done.ended - done.began
        self.executed += size
        if size:
            self.observe(size, seconds)
        if done.rows is not None:
            logits, probabilities = done.rows.logits, done.rows.probabilities
            for row, item in enumerate(done.batch):
                queue_s = done.began - item.submission.since
                ride = Ride(logits[row], probabilities[row], queue_s, seconds, size, done.rows, row)
                item.submission.arrive(item.position, ride)
        elif done.error is not None:
            for item in done.batch:
                item.submission.fail(done.error)
