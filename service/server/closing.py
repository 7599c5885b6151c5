"""Close a connection so that the client can still read its last response.

Closing a socket while bytes lie unread in it resets the connection, and the reset may overtake
the response: a client that still sends a body that was rejected early then sees a broken pipe in
place of the reason. nginx calls the remedy `lingering_close`.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from service.server.timeouts import WriteTimeout

STATUS_PREFIX = b"HTTP/1.1 "
RESET_CHECK_S = 0.05
LINGER_S = 2.0
"""For the client to read the response and to stop sending."""


class LingeringTransport:
    """A transport that, while the client still sends, first closes only its writing side.

    Args:
        transport: The real one.
        write_timeout: Ends the connection if what was written is not read.
        is_sending: Tells whether the client is within a request.
        abandon: Is called when nothing can be written any more; has to read and drop what still
            arrives.

    Attributes:
        is_held: Nothing more is read, whatever uvicorn's flow control says.
        is_delaying: Nothing more is read or parsed, until `write_later` calls back.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        write_timeout: WriteTimeout,
        is_sending: Callable[[], bool],
        abandon: Callable[[], None],
    ) -> None:
        self.write: Callable[[bytes], None] = transport.write
        self.is_held = self.is_delaying = False
        self._delayed = b""
        self._is_lingering = False
        self._transport = transport
        self._write_timeout = write_timeout
        self._is_sending = is_sending
        self._abandon = abandon

    def __getattr__(self, name: str) -> Any:
        """Be the real transport in all else."""
        return getattr(self._transport, name)

    def release(self) -> None:
        """Let go of the protocol, which would keep itself alive; the connection is lost."""
        del self._is_sending, self._abandon

    def hold_reading(self) -> None:
        """Read no more until `is_held` is False and `resume_reading` is called."""
        self.is_held = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless it is held."""
        if not self.is_held:
            self._transport.resume_reading()

    def write_later(self, data: bytes, seconds: float, resume: Callable[[], None]) -> None:
        """Write after some time in which nothing is read; before anything else, and the end.

        Args:
            data: The response.
            seconds: Not anew if another response is delayed already.
            resume: Is called then, if the connection is still open; has to read on.
        """
        self._write_delayed()
        self._delayed, self.write = data, self._write_in_order
        self.hold_reading()
        if not self.is_delaying:
            self.is_delaying = True
            asyncio.get_running_loop().call_later(seconds, self._end_delay, resume)

    def _write_in_order(self, data: bytes) -> None:
        self._write_delayed()
        self.write(data)

    def _write_delayed(self) -> None:
        data, self._delayed = self._delayed, b""
        if data:
            self.write = self._transport.write
            self.write(data)

    def _end_delay(self, resume: Callable[[], None]) -> None:
        self.is_delaying = False
        if not self.is_closing():
            self._write_delayed()
            resume()

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self._is_lingering or self._transport.is_closing()

    def close(self) -> None:
        """Close now, or soon after the end of writing was sent to the client."""
        if self.is_closing():
            return
        if not self._is_sending():
            self.close_now()
            return
        self._write_delayed()
        self._is_lingering = True
        self._write_timeout.start()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._abandon()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def close_now(self) -> None:
        """Close as soon as what was written is taken."""
        self._write_delayed()
        self._write_timeout.start()
        self._transport.close()

    def begin_response(self) -> None:
        """Write what every response begins with, and leave it out of the next one.

        A client that has closed only its sending side reads it as the beginning of its response.
        If the client has closed the connection, its system answers with a reset, which nothing
        else would bring about.
        """
        self._write_delayed()
        self._transport.write(STATUS_PREFIX)
        self.write = self._write_rest

    def _write_rest(self, data: bytes) -> None:
        self.write = self._transport.write
        self.write(data.removeprefix(STATUS_PREFIX))

    def check_for_reset(self) -> None:
        """Abort when the client resets the connection; nothing is read that would show it."""
        if self._transport.is_closing():
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
        else:
            asyncio.get_running_loop().call_later(RESET_CHECK_S, self.check_for_reset)
