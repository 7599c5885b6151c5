"""A client that does not take its answer is not waited for for ever.

The kernel takes the first bytes off our hands; the rest waits in this process until the
client has read those. One that reads nothing would keep megabytes, its connection, and at
the end the whole process waiting.
"""

import asyncio

TAKES_AT_END_S = 2.0
"""Between two looks at what is left, when the process is to end."""
SLOWEST_BYTES_S = 8_192
"""Who takes less in a second is not waited for."""


class Uptake:
    """Looks whether a client takes what was written to it, and ends the connection if not.

    Args:
        transport: The real one.
        every_s: Between two looks at what is left.
    """

    def __init__(self, transport: asyncio.Transport, every_s: float) -> None:
        """Nobody looks yet."""
        self._transport = transport
        self._every_s = every_s
        self._left = 0  # bytes, when somebody last looked
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Look from now on, if anything is left and nobody looks already."""
        if self._timer is None and (left := self._transport.get_write_buffer_size()):
            self._left = left
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hurry(self) -> None:
        """Look more often: the process waits for its last connection."""
        self._every_s = min(self._every_s, TAKES_AT_END_S)
        if self._timer is not None:
            self.stop()
            self.watch()

    def _look(self) -> None:
        self._timer = None
        taken = self._left - self._transport.get_write_buffer_size()
        if taken < min(self._left, self._every_s * SLOWEST_BYTES_S):
            self._transport.abort()
        else:
            self.watch()
