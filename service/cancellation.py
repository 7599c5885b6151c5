"""How a request learns that its client has disconnected."""

import asyncio
from collections.abc import Callable

DISCONNECT = "resnet.disconnect"
"""Where a request's ASGI scope holds its `Disconnect`, for the server to call."""


class Disconnect:
    """Tells a request that its client has disconnected; called by the server, on the event loop.

    Attributes:
        disconnected: Whether that has happened.
        decode_timeout: Of the decoding that is waited for; None while none is.
        leave_queue: Takes the request out of the queue of the engine; None before it is queued.
    """

    __slots__ = ("decode_timeout", "disconnected", "leave_queue")

    def __init__(self) -> None:
        self.disconnected = False
        self.decode_timeout: asyncio.Timeout | None = None
        self.leave_queue: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Stop waiting for the decoding, and leave the queue."""
        self.disconnected = True
        if self.decode_timeout is not None and not self.decode_timeout.expired():
            self.decode_timeout.reschedule(0)  # now
        if self.leave_queue is not None:
            self.leave_queue()
