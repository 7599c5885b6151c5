"""The images of one request while they wait for the engine, and the outputs that come back."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from model.preprocessing import Pixels
from service.errors import ClientLeftError, DeadlineExceededError
from service.inference.outputs import ImageOutput


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

    __slots__ = ("_left", "_results", "deadline", "future", "images", "outputs", "queued_at")

    def __init__(
        self,
        images: Sequence[Pixels],
        deadline: float,
        future: "asyncio.Future[list[ImageOutput]]",
        outputs: frozenset[str] = frozenset(),
    ) -> None:
        self.images = images
        self.future = future
        self.deadline = deadline
        self.outputs = outputs
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
            ClientLeftError: If `cancel` is called first.
            Exception: What the engine raised for a batch with one of the images.
        """
        left_s = self.deadline - time.perf_counter()
        timer = self.future.get_loop().call_later(left_s, self.expire)
        try:
            return await self.future
        finally:
            timer.cancel()

    def expire(self) -> None:
        """End the request because its deadline has passed."""
        waited_s = time.perf_counter() - self.queued_at
        self.fail(
            DeadlineExceededError(
                f"There was no answer after {waited_s:.3g} s, which is the deadline; the request "
                "was dropped and nothing else was. Try again, or allow more time."
            )
        )

    def cancel(self) -> None:
        """End the request because its client has disconnected."""
        self.fail(ClientLeftError("The client closed the connection before the answer."))
