"""How a request learns that its client has disconnected."""

import asyncio
from collections.abc import Callable, Sized

ON_LEAVE = "resnet.on_leave"
"""Where a request's ASGI scope holds its `Departure`, for the server to call."""

COMPANY = "resnet.company"
"""Where the server puts all requests under way into a request's ASGI scope."""


class Departure:
    """Tells a request that its client is gone; called by the server, on the event loop."""

    __slots__ = ("_company", "gone", "leave_queue", "preparing")

    def __init__(self, company: Sized | None = None) -> None:
        """The client is there, and nothing was submitted.

        Args:
            company: All requests that the process has under way, this one among them; None: not
                known.
        """
        self._company = company
        self.gone = False
        self.preparing: asyncio.Timeout | None = None
        self.leave_queue: Callable[[], None] | None = None

    @property
    def is_alone(self) -> bool:
        """Whether no other request is under way that could share a batch."""
        return self._company is not None and len(self._company) == 1

    def __call__(self) -> None:
        """Take the request out of the queues."""
        self.gone = True
        if self.preparing is not None and not self.preparing.expired():
            self.preparing.reschedule(0)  # now
        if self.leave_queue is not None:
            self.leave_queue()
