"""The batcher under any order of events: in threads and inline, on an event loop of its own.

An image's two pixels are its name and what shall happen to it; its output is its name.
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
from service.inference.admission import Admission
from service.inference.batcher import Batcher
from service.inference.cost import CostModel
from service.inference.outputs import BatchOutputs, ImageOutput
from service.inference.request import PendingRequest
from tests.service.batching import admitted
from tests.service.conftest import outputs_of

FINE, FAILS, LOSES_A_ROW = 0, 1, 2
TIMEOUT_S = 30.0
MAX_IN_FLIGHT = 12


def image(name: int, fate: int) -> Pixels:
    return np.array([name, fate], np.uint8).reshape(1, 2, 1)


class Request:
    """What was asked, and how it ended."""

    def __init__(self, names: list[int], fates: list[int]) -> None:
        self.names = names
        self.fates = fates
        self.found = 0  # images in flight when it was submitted
        self.pending: PendingRequest | None = None
        self.has_left = False
        self.may_expire = False
        self.outcome: list[ImageOutput] | Exception | None = None
        self.answers = 0


class BatcherMachine(RuleBasedStateMachine):
    """Requests, cancellations and short deadlines while the engine is blocked or not."""

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
        self.is_inline = instances == 0
        cost = CostModel({size: 1e-6}, max(1, instances), inline=self.is_inline)
        self.admission = Admission(cost, MAX_IN_FLIGHT)
        self.batcher = Batcher(self.run, cost, max_batch_size=size)

        async def start() -> None:
            self.batcher.start()

        self.on_loop(start())

    def run(self, images: Pixels) -> BatchOutputs:
        """The engine: waits while it is held up, then does what the images say."""
        given = [(int(name), int(fate)) for name, fate in images[:, 0, :, 0]]
        self.batches.append(given)
        assert self.open.wait(20)
        fates = {fate for _, fate in given}
        if FAILS in fates:
            raise InferenceFailedError("as the image says")
        rows = images[:, 0, :1, 0].astype(np.float32)
        return outputs_of(rows[1:] if LOSES_A_ROW in fates else rows)

    @rule(
        fates=st.lists(
            st.sampled_from([FINE] * 8 + [FAILS, LOSES_A_ROW]),
            min_size=1,
            max_size=MAX_IN_FLIGHT + 1,
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
        self.on_loop(self.submit(request, 0.002 if is_hasty else TIMEOUT_S))
        is_over = request.found + len(fates) > MAX_IN_FLIGHT
        assert isinstance(request.outcome, OverloadedError) == is_over
        if isinstance(request.outcome, OverloadedError):
            assert (request.outcome.retry_after_s or 0) >= 1
            assert request.pending is None
        else:
            self.requests.append(request)

    async def submit(self, request: Request, timeout_s: float) -> None:
        """Do what `Classifier.answer` does, up to the point where it waits."""
        self.tasks.append(asyncio.ensure_future(self.wait(request, timeout_s)))
        await asyncio.sleep(0)

    async def wait(self, request: Request, timeout_s: float) -> None:
        images = [image(*pair) for pair in zip(request.names, request.fates, strict=True)]
        request.found = self.admission.in_flight  # here, where no answer can come in between
        try:
            with admitted(self.admission, len(images), TIMEOUT_S):
                deadline = time.perf_counter() + timeout_s
                request.pending = self.batcher.submit(images, deadline)
                self.loop.call_later(timeout_s, request.pending.expire)
                request.outcome = await request.pending.future
        except Exception as error:  # noqa: BLE001  # checked at the end
            request.outcome = error
        request.answers += 1

    @rule(which=st.integers(0, 250))  # drawn from all: which still wait depends on the clock
    def leave(self, which: int) -> None:
        waiting = [request for request in self.requests if request.outcome is None]
        if waiting:
            request = waiting[which % len(waiting)]

            async def go() -> None:
                if request.outcome is None and request.pending is not None:
                    request.has_left = not request.pending.future.done()
                    request.pending.cancel()

            self.on_loop(go())

    @precondition(lambda self: not self.is_inline)  # it would hold up these rules, too
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
            assert 0 <= self.admission.in_flight <= MAX_IN_FLIGHT
            assert all(1 <= len(batch) <= self.size for batch in list(self.batches))

    def teardown(self) -> None:
        self.open.set()
        try:
            if hasattr(self, "batcher"):
                self.on_loop(self.finish())
                self.check()
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()

    async def finish(self) -> None:
        await asyncio.gather(*self.tasks)
        await self.batcher.stop()
        await asyncio.sleep(0)

    def check(self) -> None:
        runs = Counter(name for batch in self.batches for name, _ in batch)
        spoilt = {name for batch in self.batches if any(f for _, f in batch) for name, _ in batch}
        assert not runs or max(runs.values()) == 1
        assert self.admission.in_flight == 0
        assert self.batcher.executed == runs.total()
        for request in self.requests:
            assert request.answers == 1
            self.judge_request(request, spoilt, runs)

    def judge_request(self, request: Request, spoilt: set[int], runs: Counter[int]) -> None:
        match request.outcome:
            case list() as outputs:
                assert [int(output.probabilities[0]) for output in outputs] == request.names
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
