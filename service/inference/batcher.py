"""Between requests and the engine: a queue and greedy batches.

A batch is whatever waited while the engine was busy, up to a limit: the setting, or less where
larger batches are no cheaper by the cost model (docs/decisions/0014). There is no timer: a single
image never waits for others. Images of one request may run in several batches, and a batch may
hold images of many requests. Images of cancelled or expired requests are never run.
"""

import asyncio
from collections.abc import Callable, Sequence

from model.preprocessing import Pixels
from service.inference.batch import Batch, Run
from service.inference.cost import CostModel
from service.inference.request import DeadlineTimer, PendingRequest
from service.inference.runners import InlineRunner, Runner, ThreadRunner
from service.log import log

MAX_INLINE_S = 0.016
"""The longest that a run may keep the event loop from everything else."""
NO_OUTPUTS: frozenset[str] = frozenset()


def _ignore(_images: int, _seconds: float) -> None:
    pass


class Batcher:
    """Runs the images of requests in batches; its methods belong to the event loop.

    Args:
        run: uint8 (N, S, S, C), and the names of optional outputs if a request wants any ->
            outputs in the same order.
        cost: Times of the engine; updated by the runs.
        max_batch_size: Images in one run, at most; fewer where the cost model says so.
        on_batch: Is called on the event loop after each run with its images and seconds.

    Attributes:
        executed: Images that the engine was given, answered or not.
        max_batch_size: Images in one run, at most.
    """

    def __init__(
        self,
        run: Run,
        cost: CostModel,
        *,
        max_batch_size: int,
        on_batch: Callable[[int, float], None] = _ignore,
    ) -> None:
        self.cost = cost
        self.executed = 0
        self._on_batch = on_batch
        self._deadlines = DeadlineTimer()
        self._runner: Runner
        if cost.inline:
            limit = max(1, min(max_batch_size, cost.largest_batch_within(MAX_INLINE_S)))
            self._runner = InlineRunner(run, self._record, limit)
        else:
            limit = cost.best_batch_size(max_batch_size)
            self._runner = ThreadRunner(run, self._record, limit, cost.instances)
        self.max_batch_size = limit

    def start(self) -> None:
        """Begin to run batches."""
        self._runner.start()

    async def stop(self) -> None:
        """End after the present runs; nothing may be submitted any more."""
        await self._runner.stop()
        self._on_batch = _ignore  # it refers to who owns this object: memory is free at once

    def queued(self) -> int:
        """Count the images that wait for a run."""
        return self._runner.queued()

    def stalled_s(self) -> float:
        """Tell for how many seconds the longest present run has been going on; 0 if none is.

        Infinite if images wait and nothing will run them: a thread has ended.
        """
        return self._runner.stalled_s()

    def submit(
        self, images: Sequence[Pixels], deadline: float, outputs: frozenset[str] = NO_OUTPUTS
    ) -> PendingRequest:
        """Queue the images of one request.

        Args:
            images: uint8 (S, S, C) each.
            deadline: On `time.perf_counter`'s clock.
            outputs: Names of optional outputs; other images of the batch get them, too.
        """
        future = asyncio.get_running_loop().create_future()
        request = PendingRequest(images, deadline, future, self._deadlines, outputs)
        self._runner.put(request)
        return request

    def _record(self, batch: Batch) -> None:
        """Count a batch that was delivered, and update the cost model."""
        count = len(batch.items)
        self.executed += count
        try:
            if batch.outputs is not None:
                self.cost.update(count, batch.ended - batch.since)
            if count:
                self._on_batch(count, batch.ended - batch.started)
        except Exception:  # noqa: BLE001  # the next batch must run
            log.exception("batch not counted")
