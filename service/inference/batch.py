"""One batch: taken from the queue, run by the engine, delivered to its requests.

Runners (`service.inference.runners`) call `dequeue` and `Batch.run` on a thread or on the event
loop. `Batch.deliver` runs on the event loop alone.
"""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

import numpy as np

from model.preprocessing import Pixels
from service.errors import (
    InferenceFailedError,
    InternalError,
    OutOfMemoryError,
    ServiceError,
)
from service.inference.outputs import BatchOutputs, ImageOutput
from service.inference.request import PendingRequest
from service.log import log

QueuedImage = tuple[PendingRequest, int]
"""A request, and the position of one of its images."""
Queue = SimpleQueue[QueuedImage | None]
"""None tells the thread that takes it to stop."""
Run = Callable[..., BatchOutputs]
"""uint8 (N, S, S, C), and the names of optional outputs if a request wants any -> outputs of N."""


class Batch:
    """Images that run together, and what came of it; clocks are `time.perf_counter`'s.

    Attributes:
        items: Where each image comes from.
        images: uint8 (S, S, C) each; empty once they have run.
        expired: Requests whose deadline passed while an image of theirs was queued.
        queue_was_empty: Whether the runner had to wait for the first image.
        stop: Whether the runner is to stop after this batch.
        since: From when on the runner was busy with it; Python's share since the previous batch
            included.
        error: What went wrong, for all images of the batch.
    """

    __slots__ = (
        "ended",
        "error",
        "expired",
        "images",
        "items",
        "outputs",
        "queue_was_empty",
        "since",
        "started",
        "stop",
    )

    def __init__(self) -> None:
        self.items: list[QueuedImage] = []
        self.images: list[Pixels] = []
        self.expired: list[PendingRequest] = []
        self.queue_was_empty = self.stop = False
        self.outputs: BatchOutputs | None = None
        self.error: Exception | None = None
        self.since = self.started = self.ended = 0.0

    def run(self, run: Run, since: float | None) -> None:
        """Run the engine; an error is kept for exactly the images of this batch.

        Args:
            run: The engine's.
            since: End of the previous batch if images waited then, else None.
        """
        count = len(self.images)
        self.started = time.perf_counter()
        self.since = self.started if since is None else since
        try:
            if count:
                # a batch of one needs no copy
                batch = np.stack(self.images) if count > 1 else self.images[0][None]  # (N, S, S, C)
                names = frozenset[str]()
                for request, _ in self.items:
                    names |= request.outputs
                outputs = run(batch, names) if names else run(batch)
                if not len(outputs.logits) == len(outputs.probabilities) == count:
                    raise InferenceFailedError("The engine gave a wrong number of answers.")
                self.outputs = outputs
        except Exception as error:  # noqa: BLE001  # whatever it was, the next batch must run
            self.error = error  # `deliver` lets go of it: its traceback holds this frame
            for request, _ in self.items:
                request.images = ()  # at once: the next batch may start before delivery
        self.images = []
        self.ended = time.perf_counter()

    def deliver(self) -> None:
        """Give each image its outputs, or each request an error; on the event loop."""
        outputs, error, self.error = self.outputs, self.error, None
        count, infer_s = len(self.items), self.ended - self.started
        try:
            for request in self.expired:
                request.expire()
            if error is not None:
                self._fail(error)
            elif outputs is not None:
                for row, (request, position) in enumerate(self.items):
                    if self.ended > request.deadline:
                        request.expire()
                        continue
                    own = outputs.logits[row], outputs.probabilities[row]
                    queue_s = self.started - request.queued_at
                    output = ImageOutput(*own, queue_s, infer_s, count, outputs, row, self.started)
                    request.set_result(position, output)
        except Exception:  # noqa: BLE001  # whatever goes wrong, each request gets an answer
            log.exception("outputs not delivered")
            for request, _ in self.items:  # those that have theirs keep it
                request.fail(InferenceFailedError("The answer was lost. Try again."))

    def _fail(self, error: Exception) -> None:
        """Give each request an error of its own.

        The first one gets the engine's, which is logged with its traceback. One object for all
        would collect every request's frames, and be logged once for each request.
        """
        own = error
        for request, _ in self.items:
            if not request.future.done():
                request.fail(own)
                own = _repeat(error)


def dequeue(queue: Queue, limit: int, *, wait: bool) -> Batch:
    """Take the images that are queued, up to the limit.

    Images of requests that have ended are skipped.

    Args:
        queue: Several runners may take from it.
        limit: Images in a batch.
        wait: Whether to block until there is one. Never on the event loop.
    """
    batch = Batch()
    now = 0.0
    while len(batch.items) < limit:
        try:
            item = queue.get_nowait()
        except Empty:
            if now or not wait:
                break
            batch.queue_was_empty = True
            item = queue.get()
        if item is None:
            batch.stop = True
            break
        now = now or time.perf_counter()
        request, position = item
        images = request.images  # the event loop may empty it meanwhile
        if request.deadline < now:
            batch.expired.append(request)
        elif images and not request.future.done():
            batch.items.append(item)
            batch.images.append(images[position])
    return batch


def _repeat(error: Exception) -> ServiceError:
    match error:
        case InferenceFailedError():
            return InferenceFailedError(str(error))
        case MemoryError() | OutOfMemoryError():
            return OutOfMemoryError()
        case _:
            return InternalError()
