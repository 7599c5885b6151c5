"""The images of one request while they wait for the engine, and the outputs that come back."""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from model.preprocessing import Pixels
from service.errors import ClientDisconnectedError, DeadlineExceededError
from service.inference.outputs import ImageOutput


class DeadlineTimer:
    """Expires requests at their deadlines: one timer for all of them; belongs to the event loop.

    Attributes:
        pending: Requests that are not answered yet.
        due: When they are looked at, on `time.perf_counter`'s clock.
    """

    def __init__(self) -> None:
        self.pending: set[PendingRequest] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.due = math.inf

    def arm(self, due: float) -> None:
        """Look at all pending requests at that time."""
        if self._timer is not None:
            self._timer.cancel()
        self.due = due
        delay_s = due - time.perf_counter()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._timer, self.due, now = None, math.inf, time.perf_counter()
        for request in self.pending:
            if request.deadline <= now:
                request.expire()
        left = [request.deadline for request in self.pending if request.deadline > now]
        if left:
            self.arm(min(left))


class PendingRequest:
    """The images of one request in the queue; belongs to the event loop.

    Attributes:
        images: uint8 (S, S, C) each; empty once the request has ended. Queued images of an ended
            request are skipped, and their memory is free.
        future: The outputs of all images, in their order.
        deadline: On `time.perf_counter`'s clock; images that wait longer are never run.
        outputs: Names of the optional outputs that the request wants.
        queued_at: On the same clock.
    """

    __slots__ = (
        "_left",
        "_results",
        "_timer",
        "deadline",
        "future",
        "images",
        "outputs",
        "queued_at",
    )

    def __init__(
        self,
        images: Sequence[Pixels],
        deadline: float,
        future: "asyncio.Future[list[ImageOutput]]",
        timer: DeadlineTimer,
        outputs: frozenset[str] = frozenset(),
    ) -> None:
        self.images = images
        self.future = future
        self.deadline = deadline
        self.outputs = outputs
        self._timer = timer
        self.queued_at = time.perf_counter()
        self._results: list[Any] = [None] * len(images)  # an `ImageOutput` each, in the end
        self._left = len(images)

    def set_result(self, position: int, output: ImageOutput) -> None:
        """Take one image's output; the last one completes the request."""
        self._results[position] = output
        self._left -= 1
        if not self._left and not self.future.done():
            self.images = ()
            self.future.set_result(self._results)
            self._results = []  # a connection may hold this object long after the answer

    def fail(self, error: Exception) -> None:
        """End the request; images that still wait are skipped."""
        self.images = ()
        if not self.future.done():
            self.future.set_exception(error)

    async def wait(self) -> list[ImageOutput]:
        """Wait for the outputs until the deadline.

        Raises:
            DeadlineExceededError: If the deadline comes first.
            ClientDisconnectedError: If `cancel` is called first.
            Exception: What the engine raised for a batch with one of the images.
        """
        timer = self._timer
        timer.pending.add(self)
        if self.deadline < timer.due:
            timer.arm(self.deadline)
        try:
            return await self.future
        finally:
            timer.pending.discard(self)

    def expire(self) -> None:
        """End the request because its deadline has passed."""
        waited_s = time.perf_counter() - self.queued_at
        self.fail(
            DeadlineExceededError(
                f"No answer after {waited_s:.3g} s, the deadline of this request. Try "
                "again, or allow more time."
            )
        )

    def cancel(self) -> None:
        """End the request because its client has disconnected."""
        self.fail(ClientDisconnectedError("The client closed the connection before the answer."))
