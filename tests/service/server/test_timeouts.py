"""A deadline that moves, and the timers that it costs."""

import asyncio
from collections.abc import Callable

import pytest

from service.server.timeouts import NEVER, LazyTimeout


class Expiry:
    """Says that, and when, a deadline passed."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.after: list[float] = []
        self.timeout = LazyTimeout(self.loop, self.note)

    def note(self) -> None:
        self.after.append(self.loop.time() - self.began)

    def start(self, seconds: float) -> None:
        self.timeout.start(self.loop.time() + seconds)


@pytest.mark.anyio
async def test_a_deadline_expires_once() -> None:
    expiry = Expiry()

    expiry.start(0.05)
    await asyncio.sleep(0.2)

    assert len(expiry.after) == 1
    assert 0.04 < expiry.after[0] < 0.2


@pytest.mark.anyio
async def test_a_deadline_that_moves_to_a_later_time_expires_then() -> None:
    expiry = Expiry()

    expiry.start(0.05)
    expiry.start(0.15)
    await asyncio.sleep(0.3)

    assert len(expiry.after) == 1
    assert 0.14 < expiry.after[0] < 0.3


@pytest.mark.anyio
async def test_a_deadline_that_moves_to_an_earlier_time_expires_then() -> None:
    expiry = Expiry()

    expiry.start(60)
    expiry.start(0.05)
    await asyncio.sleep(0.2)

    assert len(expiry.after) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("is_stopped", [False, True])
async def test_nothing_expires_while_nothing_is_waited_for(is_stopped: bool) -> None:
    expiry = Expiry()

    expiry.start(0.05)
    if is_stopped:
        expiry.timeout.stop()
    expiry.timeout.deadline = NEVER
    await asyncio.sleep(0.15)

    assert expiry.after == []


@pytest.mark.anyio
async def test_a_new_deadline_after_one_that_was_dropped_expires() -> None:
    expiry = Expiry()

    expiry.start(0.05)
    expiry.timeout.deadline = NEVER
    await asyncio.sleep(0.1)
    expiry.start(0.05)
    await asyncio.sleep(0.2)

    assert len(expiry.after) == 1


@pytest.mark.anyio
async def test_a_thousand_later_deadlines_take_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    expiry = Expiry()
    made: list[float] = []
    call_at = expiry.loop.call_at

    def note(when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        made.append(when)
        return call_at(when, call)

    monkeypatch.setattr(expiry.loop, "call_at", note)

    for seconds in range(60, 1_060):
        expiry.start(seconds)
    expiry.timeout.stop()

    assert len(made) == 1
