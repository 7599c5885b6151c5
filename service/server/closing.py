"""A connection that ends without tearing its last answer out of the client's hands.

Closing a socket while bytes lie unread in it resets the connection, and the reset may overtake
the answer: a client that still sends a body that was refused early then sees a broken pipe in
place of the reason.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

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


BEGINNING = b"HTTP/1.1 "
RESET_LOOK_S = 0.05
LINGER_S = 2.0
"""For the client to read the answer and to stop sending."""


class Lingering:
    """A transport whose end waits a moment for a client that is still sending.

    Args:
        transport: The real one.
        uptake: Sees that what was written is taken, or else ends the connection.
        is_sending: Tells whether the client is within a request.
        give_up: Is called when nothing can be written any more; has bytes arrive again, if
            reading was paused.

    Attributes:
        is_ending: What still arrives is of no interest.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        uptake: Uptake,
        is_sending: Callable[[], bool],
        give_up: Callable[[], None],
    ) -> None:
        """Stand before the real one."""
        self.is_ending = False
        self.write: Callable[[bytes], None] = transport.write
        self._transport = transport
        self._uptake = uptake
        self._is_sending = is_sending
        self._give_up = give_up

    def __getattr__(self, name: str) -> Any:
        """Be the real one in all else."""
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self.is_ending or self._transport.is_closing()

    def close(self) -> None:
        """End now, or once the client has heard that nobody listens."""
        if self.is_closing():
            return
        if not self._is_sending():
            self.close_now()
            return
        self.is_ending = True
        self._uptake.watch()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._give_up()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def begin_answer(self) -> None:
        """Write what every answer begins with, and leave it out of the next one.

        A client that has sent its request and will send no more (a half-closed connection) takes
        it as the beginning of its answer. One that has closed the connection has no use for it:
        its system resets the connection, which nothing else would bring about.
        """
        self._transport.write(BEGINNING)
        self.write = self._write_rest

    def _write_rest(self, data: bytes) -> None:
        self.write = self._transport.write
        self.write(data.removeprefix(BEGINNING))

    def look_for_reset(self) -> None:
        """Notice from now on that the other side resets the connection: nothing is read from it."""
        if self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
        else:
            asyncio.get_running_loop().call_later(RESET_LOOK_S, self.look_for_reset)

    def close_now(self) -> None:
        """End as soon as what was written is taken."""
        self._uptake.watch()
        self._transport.close()
