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
import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from model.preprocessing import Pixels
from service.errors import InferenceFailedError
from service.inference.admission import Admission
from service.inference.batch import Done, Waiting, hand_out, run_batch, take
from service.inference.cost import Plan
from service.inference.request import Rows, Submission
from service.log import log

JOIN_S = 10.0
ON_LOOP_S = 0.016
"""The longest that a run may keep the event loop from everything else."""


class Batcher(Admission):
    """Collects pictures, runs them in threads of its own, hands each its answer.

    Args:
        run: uint8 (N, S, S, C), and the names of further outputs if a picture wants any -> rows
            in the same order.
        plan: Times of the engine, for admission; it learns from the runs.
        max_batch_size: Pictures in one run, at most; fewer where the plan says so.
        max_queue: Pictures that may be under way, from the door to the answer.
        deadline_s: The longest that a request can have.
        observe: Called on the loop after each run with its size and seconds.
    """

    def __init__(  # noqa: PLR0913  # each is a limit of its own
        self,
        run: Callable[..., Rows],
        plan: Plan,
        *,
        max_batch_size: int,
        max_queue: int,
        deadline_s: float = math.inf,
        observe: Callable[[int, float], None] = lambda _size, _seconds: None,
    ) -> None:
        """Prepare; nothing runs before `start`."""
        super().__init__(plan, max_queue, deadline_s)
        self.executed = 0  # pictures that the engine was given, answered or not
        self.observe = observe
        self._run = run
        if plan.on_loop:
            self._max_batch_size = max(1, min(max_batch_size, plan.longest_within(ON_LOOP_S)))
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
            that one of them rode in, or `DeadlineExceededError`, or `ClientDisconnectedError`.
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
                if self._loop is not None:
                    with contextlib.suppress(RuntimeError):  # closed: nobody waits any more
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
        began, self._turn_is_due, self._idle_since = self._idle_since, False, None
        try:
            if waiting:  # else it would wait here for ever
                done = run_batch(self._run, take(self._queue, self._max_batch_size))
                self._follow(done, done.began if began is None else began)
                self._deliver(done)
                self._idle_since = done.ended if self.queued() else None
        finally:
            if self.queued():
                self._soon(loop)

    def _follow(self, done: Done, began: float) -> None:
        """Note what a batch took, Python's share since the last one included."""
        if done.batch and done.error is None:
            try:
                self.plan.follow(len(done.batch), done.ended - began)
            except Exception:  # noqa: BLE001  # the answers go out, and the next batch runs
                log.exception("batch not measured")

    def _deliver(self, done: Done) -> None:
        """Hand out the answers of one batch and count it, on the event loop.

        Whatever goes wrong, each request gets an answer, and the next batch runs.
        """
        size = len(done.batch)
        self.executed += size
        try:
            hand_out(done)
        except Exception:  # noqa: BLE001  # see above
            log.exception("answers not handed out")
            for item in done.batch:  # those that have theirs keep it
                item.submission.fail(InferenceFailedError("The answer was lost. Try again."))
        try:
            if size:
                self.observe(size, done.ended - done.began)
        except Exception:  # noqa: BLE001  # see above
            log.exception("batch not counted")
