"""How a request learns that its client has disconnected."""

import asyncio
from collections.abc import Callable

DISCONNECT = "resnet.disconnect"
"""The key of a request's `Disconnect` in its ASGI scope, for the server to call."""


class Disconnect:
    """Called by the server, on the event loop, when the client of a request has disconnected.

    Attributes:
        disconnected: Whether that has happened.
        decode_timeout: Of the decoding in progress; None if there is none.
        leave_queue: Takes the request out of the queue of the engine; None before it is queued.
    """

    disconnected = False
    decode_timeout: asyncio.Timeout | None = None
    leave_queue: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Stop waiting for the decoding, and leave the queue."""
        self.disconnected = True
        if self.decode_timeout is not None and not self.decode_timeout.expired():
            self.decode_timeout.reschedule(0)  # now
        if self.leave_queue is not None:
            self.leave_queue()
