"""Between requests and the engine: a bounded queue and greedy batches.

A batch is whatever waited while the engine was busy, up to a limit: the setting, or less
where the plan says that larger batches are no cheaper (docs/decisions/0014). There is no timer:
a lone picture never waits. Pictures of one request may ride in several batches, and a
batch may carry pictures of many requests. What is cancelled or too late is never run.

Threads: `admit`, `decoding` and `submit` belong to the event loop, the runs to one thread
an instance. A queue that both sides may touch lies between them; answers go back to the
loop a whole batch at a time, since waking it costs as much as a small picture. On a single
core the event loop runs the batches itself (docs/decisions/0012).
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

from model.preprocessing import Pixels
from service.overload import no_places, too_late
from service.plan import Plan
from service.submission import Rows, Submission
from service.turn import Done, Waiting, hand_out, run_batch, take

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
        self.under_way = self.undecoded = 0  # the latter: what the decode pool has yet to do
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
        for thread in threads:  # daemons: a run that never ends must not hold the process
            await asyncio.to_thread(thread.join, JOIN_S)

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
        """Tell what `refuse_overload` would say of pictures for no pool, without the words."""
        ahead, is_idle = self.under_way + count, not self.under_way
        return ahead <= self.max_queue and self.plan.wait_s(ahead, is_idle=is_idle) <= patience_s

    def refuse_overload(
        self, count: int, patience_s: float, *, promised: int = 0, for_pool: int = 0
    ) -> None:
        """Say early what `admit` and `decoding` would say, before a body is read for nothing.

        Args, beside those of `admit`:
            promised: Places that others were promised and have not taken yet.
            for_pool: Of the pictures, those that surely go to the decode pool.

        Raises:
            OverloadedError: Says when to come back, by the measured rates.
        """
        plan, limit, waiting = self.plan, self.max_queue, self.under_way + promised
        beyond = waiting + count - limit
        if beyond > 0:  # those that are decoded go first
            undecoded = max(0, beyond - (self.under_way - self.undecoded))
            raise no_places(waiting, count, limit, plan.wait_s(beyond, undecoded))
        undecoded = self.undecoded + for_pool if self.undecoded and for_pool else 0
        need_s = plan.wait_s(waiting + count, undecoded, is_idle=not self.under_way)
        if need_s > patience_s:
            raise too_late(waiting, need_s, patience_s, count, plan.wait_s(count, is_idle=True))

    @contextmanager
    def decoding(self, count: int, patience_s: float) -> Iterator[None]:
        """Count pictures that hold places as the decode pool's, until they are decoded.

        Raises:
            OverloadedError: If it would come to them too late. Where it has nothing to do it never
                would: a rate that one huge photograph has spoilt must be mended by others.
        """
        ahead = self.undecoded
        if ahead and (need_s := self.plan.wait_s(0, ahead + count)) > patience_s:
            raise too_late(ahead, need_s, patience_s)
        self.undecoded += count
        try:
            yield
        finally:
            self.undecoded -= count

    def submit(
        self,
        images: Sequence[Pixels],
        deadline: float,
        extras: frozenset[str] = frozenset(),
        *,
        is_alone: bool = False,
    ) -> Submission:
        """Queue the pictures of one request.

        Args:
            images: uint8 (S, S, C) each.
            deadline: On `time.perf_counter`'s clock.
            extras: More outputs than plain requests want; batch-mates get them too.
            is_alone: Nobody can share the batch: where the event loop runs it, it does so now.

        Returns:
            Its `answer` brings all rides in order, or what the engine raised for a batch
            that one of them rode in, or `DeadlineExceededError`, or `ClientLeftError`.
        """
        loop = self._loop or asyncio.get_running_loop()
        submission = Submission(images, deadline, loop.create_future(), extras)
        for position in range(len(images)):
            self._queue.put(Waiting(submission, position))
        if self.plan.on_loop:
            if is_alone and not self._turn_is_due:
                self._turn_on_loop(loop, len(images))
            else:
                self._soon(loop)
        return submission

    def _serve(self, number: int) -> None:
        """Run batches until told to end; the whole life of one thread."""
        idle_since = time.perf_counter()
        while True:
            taken = take(self._queue, self._max_batch_size)
            if taken.batch or taken.late:
                self._busy_since[number] = time.perf_counter()
                done = run_batch(self._run, taken)
                del self._busy_since[number]
                self._follow(done, done.began if taken.had_to_wait else idle_since)
                if self._loop is not None and not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._deliver, done)
                del done  # with all outputs; the next batch may be long in coming
            if taken.is_last:
                return
            del taken
            idle_since = time.perf_counter()

    def _soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the event loop take a turn; at once for a lone picture."""
        if not self._turn_is_due:
            self._turn_is_due = True
            loop.call_soon(self._turn_on_loop, loop, 1)

    def _turn_on_loop(self, loop: asyncio.AbstractEventLoop, seen: int) -> None:
        """Run a batch on the event loop; if more wait than were `seen`, let still more in first."""
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

    def _deliver(self, done: Done) -> None:
        """Count one batch and hand out its answers, on the event loop."""
        size = len(done.batch)
        self.executed += size
        if size:
            self.observe(size, done.ended - done.began)
        hand_out(done)
