"""What travels between a request and the engine: pictures on their way, and their rides back."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.preprocessing import Pixels
from service.errors import ClientDisconnectedError, DeadlineExceededError

Floats = NDArray[np.float32]


class Rows(Protocol):
    """What a run of the engine gives for a batch."""

    @property
    def logits(self) -> Floats:
        """float32 (N, K)."""

    @property
    def probabilities(self) -> Floats:
        """float32 (N, K)."""


class Ride(NamedTuple):
    """A picture's way through the queue and the engine; times in seconds."""

    logits: Floats  # (K,)
    probabilities: Floats  # (K,)
    queue_s: float
    infer_s: float
    batch_size: int
    rows: Rows  # of the whole batch, with all that the engine gave
    place: int  # of the picture in it
    began: float = 0.0  # the run, on `time.perf_counter`'s clock


class Submission:
    """The pictures of one request on their way; `answer` is what `in_time` waits for.

    Attributes:
        deadline: On `time.perf_counter`'s clock; pictures that wait longer never run.
        answer: All rides, in the order of the pictures.
        images: Its pictures, until it ends without an answer: what waits is then passed over.
    """

    __slots__ = ("_left", "_rides", "answer", "deadline", "extras", "images", "since")

    def __init__(
        self,
        images: Sequence[Pixels],
        deadline: float,
        answer: "asyncio.Future[list[Ride]]",
        extras: frozenset[str],
    ) -> None:
        """Wait for as many rides as pictures."""
        self.images = images
        self.answer = answer
        self.deadline = deadline
        self.extras = extras
        self.since = time.perf_counter()
        self._rides: list[Ride | None] = [None] * len(images)
        self._left = len(images)

    def arrive(self, position: int, ride: Ride) -> None:
        """Take one picture's answer; the last one completes the request."""
        self._rides[position] = ride
        self._left -= 1
        if self._left or self.answer.done():
            return
        if time.perf_counter() > self.deadline:  # its timer may be a moment late
            self.expire()
        else:
            self.answer.set_result([ride for ride in self._rides if ride is not None])

    def fail(self, error: Exception) -> None:
        """End the request; its other pictures are passed over, and their memory is free."""
        self.images = ()
        if not self.answer.done():
            self.answer.set_exception(error)

    async def in_time(self) -> list[Ride]:
        """Wait for the answer until the deadline; it may be there from the start."""
        if self.answer.done():
            return self.answer.result()
        left_s = self.deadline - time.perf_counter()
        timer = self.answer.get_loop().call_later(left_s, self.expire)
        try:
            return await self.answer
        finally:
            timer.cancel()

    def expire(self) -> None:
        """The deadline has come: whatever still waits is never run."""
        waited_s = time.perf_counter() - self.since
        self.fail(
            DeadlineExceededError(
                f"There was no answer after {waited_s:.3g} s, which is the deadline; the request "
                "was dropped and nothing else was. Try again, or allow more time."
            )
        )

    def leave(self) -> None:
        """The client is gone: whatever still waits is never run."""
        self.fail(ClientDisconnectedError("The client closed the connection before the answer."))
