"""The outcome of a request: its outputs, and the time of each stage."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

from service.cancellation import Disconnect
from service.errors import ClientDisconnectedError, DeadlineExceededError
from service.inference.outputs import ImageOutput
from service.preprocessing.prepare import PreparedImage


class Timings(NamedTuple):
    """The time of each stage in seconds; decode and preprocess are summed over the images."""

    decode: float
    preprocess: float
    queue: float  # of the image that waited longest
    infer: float  # of the slowest run


class Outcome(NamedTuple):
    """The engine's outputs for the images of one request, in order."""

    outputs: list[ImageOutput]
    timings: Timings
    prepared: Sequence[PreparedImage] = ()  # nothing for tensors
    deadline: float = math.inf  # on `time.perf_counter`'s clock
    disconnect: Disconnect | None = None
    batch_size: int = 1  # of the largest batch with one of the images

    def check_deadline(self, meanwhile: str) -> None:
        """Raise if the client no longer waits for the response. Any thread.

        Args:
            meanwhile: What was in progress at the deadline, and what to ask for instead.

        Raises:
            ClientDisconnectedError: If the client has disconnected.
            DeadlineExceededError: If the deadline has passed.
        """
        if self.disconnect is not None and self.disconnect.disconnected:
            raise ClientDisconnectedError("The client disconnected before the answer.")
        if time.perf_counter() > self.deadline:
            raise DeadlineExceededError(f"The deadline passed while {meanwhile}")


def outcome(
    outputs: list[ImageOutput],
    prepared: Sequence[PreparedImage],
    deadline: float,
    disconnect: Disconnect,
) -> Outcome:
    """Collect the outcome of a request."""
    timings = Timings(
        sum([image.decode_s for image in prepared]),
        sum([image.preprocess_s for image in prepared]),
        max([output.queue_s for output in outputs]),
        max([output.infer_s for output in outputs]),
    )
    batch_size = max([output.batch_size for output in outputs])
    return Outcome(outputs, timings, prepared, deadline, disconnect, batch_size)
