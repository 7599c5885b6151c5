"""What came of a request: its rides through the engine, and where its time went."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.cancellation import Disconnect
from service.errors import ClientDisconnectedError, DeadlineExceededError
from service.inference.request import Ride
from service.preprocessing.prepare import Ready


@dataclass(frozen=True)
class Timings:
    """Where a request's time went, in seconds; decode and preprocess summed over its pictures."""

    decode: float
    preprocess: float
    queue: float
    infer: float


class Answered(NamedTuple):
    """What the engine gave for the pictures of one request, in order."""

    rides: list[Ride]
    timings: Timings
    ready: Sequence[Ready] = ()  # what the pictures were; nothing for tensors
    deadline: float = math.inf  # on `time.perf_counter`'s clock
    disconnect: Disconnect | None = None

    def refuse_late(self, meanwhile: str) -> None:
        """Refuse to go on, or to answer, for whom it is too late. Any thread.

        Args:
            meanwhile: What was done when the deadline passed, and what to ask for instead.

        Raises:
            ClientDisconnectedError: If the client has disconnected.
            DeadlineExceededError: If the deadline has passed.
        """
        if self.disconnect is not None and self.disconnect.disconnected:
            raise ClientDisconnectedError("The client closed the connection before the answer.")
        if time.perf_counter() > self.deadline:
            raise DeadlineExceededError(f"The deadline passed while {meanwhile}")

    @property
    def batch_size(self) -> int:
        """Pictures in the largest batch that the request rode in."""
        return max(ride.batch_size for ride in self.rides)


def timings(rides: Sequence[Ride], decode_s: float, preprocess_s: float) -> Timings:
    """Tell where a request's seconds went; queue and engine are those of its slowest ride."""
    return Timings(
        decode=decode_s,
        preprocess=preprocess_s,
        queue=max(ride.queue_s for ride in rides),
        infer=max(ride.infer_s for ride in rides),
    )
