"""What came of a request: its outputs, and where its time went."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

from service.cancellation import Disconnect
from service.errors import ClientDisconnectedError, DeadlineExceededError
from service.inference.outputs import ImageOutput
from service.preprocessing.prepare import PreparedImage


class Timings(NamedTuple):
    """Where a request's time went, in seconds; decode and preprocess summed over its images."""

    decode: float
    preprocess: float
    queue: float  # of the image that waited longest
    infer: float  # of the slowest run


class Outcome(NamedTuple):
    """What the engine gave for the images of one request, in order."""

    outputs: list[ImageOutput]
    timings: Timings
    prepared: Sequence[PreparedImage] = ()  # nothing for tensors
    deadline: float = math.inf  # on `time.perf_counter`'s clock
    disconnect: Disconnect | None = None
    batch_size: int = 1  # of the largest batch that held one of the images

    def check_deadline(self, meanwhile: str) -> None:
        """Stop a request that nobody waits for any more. Any thread.

        Args:
            meanwhile: What was done when the deadline passed, and what to ask for instead.

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
    """Put together what came of a request."""
    timings = Timings(
        sum([image.decode_s for image in prepared]),
        sum([image.preprocess_s for image in prepared]),
        max([output.queue_s for output in outputs]),
        max([output.infer_s for output in outputs]),
    )
    batch_size = max([output.batch_size for output in outputs])
    return Outcome(outputs, timings, prepared, deadline, disconnect, batch_size)
