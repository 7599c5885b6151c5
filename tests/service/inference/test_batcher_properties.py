"""The batcher under whatever order of events: threads of its own or none, a loop of its own.

A picture's two pixels are its name and what shall happen to it; its answer is its name.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from model.preprocessing import Pixels
from service.errors import (
    ClientDisconnectedError,
    DeadlineExceededError,
    InferenceFailedError,
    OverloadedError,
)
from service.inference.batcher import Batcher
from service.inference.cost import Plan
from service.inference.request import Ride, Submission
from tests.service.conftest import Answer

FINE, FAILS, LOSES_A_ROW = 0, 1, 2
PATIENCE_S = 30.0
MAX_QUEUE = 12


def picture(name: int, fate: int) -> Pixels:
    return np.array([name, fate], np.uint8).reshape(1, 2, 1)


class Request:
    """What was asked, and how it ended."""

    def __init__(self, names: list[int], fates: list[int]) -> None:
        self.names = names
        self.fates = fates
        self.found = 0  # pictures under way when it came to the door
        self.submission: Submission | None = None
        self.has_left = False
        self.may_expire = False
        self.outcome: list[Ride] | Exception | None = None
        self.answers = 0


class BatcherMachine(RuleBasedStateMachine):
    """Arrivals, departures and short deadlines while the engine is held up or let go."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.batches: list[list[tuple[int, int]]] = []
        self.next_name = 0
        self.open = threading.Event()
        self.open.set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.tasks: list[Any] = []

    def on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    @initialize(size=st.integers(1, 4), instances=st.integers(0, 2))
    def begin(self, size: int, instances: int) -> None:
        self.size = size
        self.runs_on_loop = instances == 0
        plan = Plan({size: 1e-6}, max(1, instances), on_loop=self.runs_on_loop)
        self.batcher = Batcher(self.run, plan, max_batch_size=size, max_queue=MAX_QUEUE)

        async def start() -> None:
            self.batcher.start()

        self.on_loop(start())

    def run(self, images: Pixels) -> Answer:
        """The engine: waits while it is held up, then does what the pictures say."""
        given = [(int(name), int(fate)) for name, fate in images[:, 0, :, 0]]
        self.batches.append(given)
        assert self.open.wait(20)
        fates = {fate for _, fate in given}
        if FAILS in fates:
            raise InferenceFailedError("as it was told")
        rows = images[:, 0, :1, 0].astype(np.float32)
        return Answer(rows[1:] if LOSES_A_ROW in fates else rows)

    @rule(
        fates=st.lists(
            st.sampled_from([FINE] * 8 + [FAILS, LOSES_A_ROW]), min_size=1, max_size=MAX_QUEUE + 1
        ),
        is_hasty=st.sampled_from([False, False, False, True]),
    )
    def arrive(self, fates: list[int], is_hasty: bool) -> None:
        if self.next_name + len(fates) > 250:
            return
        names = [*range(self.next_name, self.next_name + len(fates))]
        self.next_name += len(fates)
        request = Request(names, fates)
        request.may_expire = is_hasty
        self.on_loop(self.submit(request, 0.002 if is_hasty else PATIENCE_S))
        is_over = request.found + len(fates) > MAX_QUEUE
        assert isinstance(request.outcome, OverloadedError) == is_over
        if isinstance(request.outcome, OverloadedError):
            assert (request.outcome.retry_after_s or 0) >= 1
            assert request.submission is None
        else:
            self.requests.append(request)

    async def submit(self, request: Request, patience_s: float) -> None:
        """Do what `Classifier.answer` does, up to the point where it waits."""
        self.tasks.append(asyncio.ensure_future(self.wait(request, patience_s)))
        await asyncio.sleep(0)

    async def wait(self, request: Request, patience_s: float) -> None:
        images = [picture(*pair) for pair in zip(request.names, request.fates, strict=True)]
        request.found = self.batcher.under_way  # here, where no answer can come in between
        try:
            with self.batcher.admit(len(images), PATIENCE_S):
                deadline = time.perf_counter() + patience_s
                request.submission = self.batcher.submit(images, deadline)
                self.loop.call_later(patience_s, request.submission.expire)
                request.outcome = await request.submission.answer
        except Exception as error:  # noqa: BLE001  # judged at the end
            request.outcome = error
        request.answers += 1

    @rule(which=st.integers(0, 250))  # drawn from all: who still waits depends on the clock
    def leave(self, which: int) -> None:
        waiting = [request for request in self.requests if request.outcome is None]
        if waiting:
            request = waiting[which % len(waiting)]

            async def go() -> None:
                if request.outcome is None and request.submission is not None:
                    request.has_left = not request.submission.answer.done()
                    request.submission.leave()

            self.on_loop(go())

    @precondition(lambda self: not self.runs_on_loop)  # it would hold up these rules, too
    @rule()
    def hold_up(self) -> None:
        self.open.clear()

    @rule()
    def let_go(self) -> None:
        self.open.set()

    @rule()
    def pass_time(self) -> None:
        time.sleep(0.004)

    @invariant()
    def the_bound_is_respected(self) -> None:
        if hasattr(self, "batcher"):
            assert 0 <= self.batcher.under_way <= MAX_QUEUE
            assert all(1 <= len(batch) <= self.size for batch in list(self.batches))

    def teardown(self) -> None:
        self.open.set()
        try:
            if hasattr(self, "batcher"):
                self.on_loop(self.finish())
                self.judge()
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()

    async def finish(self) -> None:
        await asyncio.gather(*self.tasks)
        await self.batcher.stop()
        await asyncio.sleep(0)

    def judge(self) -> None:
        runs = Counter(name for batch in self.batches for name, _ in batch)
        spoilt = {name for batch in self.batches if any(f for _, f in batch) for name, _ in batch}
        assert not runs or max(runs.values()) == 1
        assert self.batcher.under_way == 0
        assert self.batcher.executed == runs.total()
        for request in self.requests:
            assert request.answers == 1
            self.judge_request(request, spoilt, runs)

    def judge_request(self, request: Request, spoilt: set[int], runs: Counter[int]) -> None:
        match request.outcome:
            case list() as rides:
                assert [int(ride.probabilities[0]) for ride in rides] == request.names
                assert not request.has_left
                assert not spoilt & {*request.names}
                assert all(runs[name] for name in request.names)
            case ClientDisconnectedError():
                assert request.has_left
            case DeadlineExceededError():
                assert request.may_expire
            case InferenceFailedError():
                assert spoilt & {*request.names}
            case other:
                raise AssertionError(f"It ended with {other!r}.")


BatcherMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestBatcher = BatcherMachine.TestCase
