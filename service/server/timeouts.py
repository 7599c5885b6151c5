"""Timeouts of a connection: for a client that sends too slowly, or reads too slowly."""

import asyncio
import math
from collections.abc import Callable

NEVER = math.inf
WRITE_CHECK_S = 2.0
"""Between two checks of what is left to write, when the process is to end."""
MIN_WRITE_RATE = 8_192
"""Bytes per second; a client that reads less is disconnected."""


class LazyTimeout:
    """A deadline that is set anew for each request, without a timer of the loop for each.

    A timer that runs goes on when the deadline moves to a later time, and checks it then.

    Args:
        loop: Of the connection.
        expire: Is called when the deadline has passed.

    Attributes:
        deadline: On the loop's clock; `NEVER` while nothing is waited for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self.deadline = NEVER
        self._loop = loop
        self._expire = expire
        self._fires_at = NEVER
        self._timer: asyncio.TimerHandle | None = None

    def start(self, deadline: float) -> None:
        """Set the deadline."""
        self.deadline = deadline
        if deadline < self._fires_at:
            self.stop()
            self._fires_at = deadline
            self._timer = self._loop.call_at(deadline, self._check)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self._fires_at = NEVER
        if self.deadline <= self._loop.time():
            self._expire()
        elif self.deadline != NEVER:
            self.start(self.deadline)


class WriteTimeout:
    """Aborts a connection whose client reads its response too slowly (nginx: send_timeout).

    Args:
        transport: The real one.
        every_s: Between two checks of what is left.
    """

    def __init__(self, transport: asyncio.Transport, every_s: float) -> None:
        self._transport = transport
        self._every_s = every_s
        self._left = 0  # bytes, at the last check
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Check from now on, if anything is left to write."""
        if self._timer is None and (left := self._transport.get_write_buffer_size()):
            self._left = left
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._check)

    def stop(self) -> None:
        """Check no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def shorten(self) -> None:
        """Check more often: the process waits for its last connection."""
        self._every_s = min(self._every_s, WRITE_CHECK_S)
        if self._timer is not None:
            self.stop()
            self.start()

    def _check(self) -> None:
        self._timer = None
        taken = self._left - self._transport.get_write_buffer_size()
        if taken < min(self._left, self._every_s * MIN_WRITE_RATE):
            self._transport.abort()
        else:
            self.start()
