"""Between requests and the engine: a bounded queue and greedy batches.

A batch is whatever waited while the engine was busy, up to a limit: the setting, or less
where the plan says that larger batches are no cheaper (docs/decisions/0014). There is no timer:
a lone picture never waits. Pictures of one request may ride in several batches, and a
batch may carry pictures of many requests. What is cancelled or too late is never run.

Threads: `admit`, `submit` and `leave` belong to the event loop, the runs to one thread
an instance. A queue that both sides may touch lies between them; answers go back to the
loop a whole batch at a time, since waking it costs as much as a small picture. On a single
core the event loop runs the batches itself (docs/decisions/0012).
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

from model.preprocessing import Pixels
from service.errors import OverloadedError
from service.plan import Plan
from service.submission import Ride, Rows, Submission
from service.turn import Done, Waiting, run_batch, take

JOIN_S = 10.0
ON_LOOP_S = 0.016
"""The longest that a run may keep the event loop from everything else."""


class Batcher:
    """Collects pictures, runs them in threads of its own, hands each its answer.

    Args:
        run: uint8 (N, S, S, C), and the names of further outputs if a picture wants any -> rows
            in the same order.
        plan: Times of the engine, for admission; it learns from the runs.
        max_batch_size: Pictures in one run, at most; fewer where the plan says so.
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
        if plan.on_loop:
            self._max_batch_size = min(max_batch_size, plan.longest_within(ON_LOOP_S))
        else:
            self._max_batch_size = plan.worthwhile(max_batch_size)
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy_since: dict[int, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn_is_due = False
        self._idle_since: float | None = None

    def start(self) -> None:
        """Begin to serve the queue; to be called on the event loop."""
        self._loop = asyncio.get_running_loop()
        for number in range(0 if self.plan.on_loop else self.plan.instances):
            thread = threading.Thread(
                target=self._serve, args=(number,), name=f"engine-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    async def stop(self) -> None:
        """End after the runs under way; nothing may be submitted any more."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)
        await asyncio.to_thread(self._join, threads)

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        for thread in threads:  # daemons: a run that never ends must not hold the process
            thread.join(JOIN_S)

    def busy_s(self) -> float:
        """Tell for how many seconds the longest present run has been going on; 0 if none."""
        now = time.perf_counter()
        return now - min(list(self._busy_since.values()), default=now)

    def has_lost_thread(self) -> bool:
        """Tell whether a thread has ended before it was told to."""
        return not all(thread.is_alive() for thread in self._threads)

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
            OverloadedError: If there are too few places, or the answer would come too late.
        """
        self.refuse_overload(count, patience_s)
        with self.hold(count):
            yield

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Keep places that were admitted for what comes after the engine."""
        self.under_way += count
        try:
            yield
        finally:
            self.under_way -= count

    def has_room(self, count: int, patience_s: float) -> bool:
        """Tell what `refuse_overload` would say, without the words."""
        waiting = self.under_way
        need_s = self.plan.wait_s(waiting + count, is_idle=not waiting)
        return waiting + count <= self.max_queue and need_s <= patience_s

    def refuse_overload(self, count: int, patience_s: float) -> None:
        """Say early what `admit` would say, before a body is read for nothing.

        Raises:
            OverloadedError: Says when to come back, by the engine's measured rate.
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
            self._queue.put(Waiting(submission, position))
        if self.plan.on_loop:
            self._soon(loop)
        return submission

    def _serve(self, number: int) -> None:
        """Run batches until told to end; the whole life of one thread."""
        idle_since = 0.0
        while True:
            taken = take(self._queue, self._max_batch_size)
            if taken.batch or taken.late:
                self._busy_since[number] = time.perf_counter()
                done = run_batch(self._run, taken)
                del self._busy_since[number]
                self._follow(done, done.began if taken.had_to_wait else idle_since)
                self._report(done)
            if taken.is_last:
                return
            idle_since = time.perf_counter()

    def _soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the event loop take a turn; at once for a lone picture."""
        if not self._turn_is_due:
            self._turn_is_due = True
            loop.call_soon(self._turn_on_loop, loop, 1)

    def _turn_on_loop(self, loop: asyncio.AbstractEventLoop, seen: int) -> None:
        """Run a batch on the event loop; if pictures still come in, let them in first.

        Args:
            loop: The running one.
            seen: How many pictures waited when it was last asked.
        """
        waiting = self.queued()
        if seen < waiting < self._max_batch_size:
            loop.call_soon(self._turn_on_loop, loop, waiting)
            return
        done = run_batch(self._run, take(self._queue, self._max_batch_size))
        self._follow(done, done.began if self._idle_since is None else self._idle_since)
        self._deliver(done)
        self._turn_is_due, self._idle_since = False, None
        if self.queued():
            self._idle_since = done.ended
            self._soon(loop)

    def _follow(self, done: Done, began: float) -> None:
        """Note what a batch took, Python's share since the last one included."""
        if done.batch and done.error is None:
            self.plan.follow(len(done.batch), done.ended - began)

    def _report(self, done: Done) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, done)

    def _deliver(self, done: Done) -> None:
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
                own = logits[row], probabilities[row]
                ride = Ride(*own, queue_s, seconds, size, done.rows, row, done.began)
                item.submission.arrive(item.position, ride)
        elif done.error is not None:
            for item in done.batch:
                item.submission.fail(done.error)
