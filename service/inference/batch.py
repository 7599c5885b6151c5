"""One turn of the engine: what waits is taken from the queue, run as a batch, and handed out.

`batcher` calls these from its threads or from the event loop, the last always from there;
they touch nothing but what they are given.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np

from model.preprocessing import Pixels
from service.errors import (
    InferenceFailedError,
    InternalError,
    OutOfMemoryError,
    ServiceError,
)
from service.inference.request import Ride, Rows, Submission


class Waiting(NamedTuple):
    """A picture in the queue."""

    submission: Submission
    position: int


class Riding(NamedTuple):
    """A picture in a batch."""

    pixels: Pixels
    submission: Submission
    position: int


class Taken(NamedTuple):
    """What was taken from the queue at once."""

    batch: list[Riding]
    late: list[Submission]
    had_to_wait: bool  # the queue was empty
    is_last: bool  # nothing comes after it


@dataclass(frozen=True)
class Done:
    """What came of a turn; `began` and `ended` are on `time.perf_counter`'s clock."""

    batch: Sequence[Riding]
    late: Sequence[Submission]
    rows: Rows | None
    error: Exception | None
    began: float
    ended: float


def take(queue: SimpleQueue[Waiting | None], limit: int) -> Taken:
    """Wait for a picture, then take what is there, up to the limit.

    Args:
        queue: None in it means the end.
        limit: Pictures in a batch.
    """
    batch: list[Riding] = []
    late: list[Submission] = []
    had_to_wait = False
    try:
        item = queue.get_nowait()
    except Empty:  # to look first and then to take would be two steps, with others in between
        had_to_wait = True
        item = queue.get()
    now = time.perf_counter()
    while item is not None:
        submission, position = item
        images = submission.images  # the event loop may take them away meanwhile
        if submission.deadline < now:
            late.append(submission)
        elif images and not submission.answer.done():
            batch.append(Riding(images[position], submission, position))
        if len(batch) == limit:
            break
        try:
            item = queue.get_nowait()
        except Empty:
            break
    return Taken(batch, late, had_to_wait, item is None)


def run_batch(run: Callable[..., Rows], taken: Taken) -> Done:
    """Run what was taken; an error is kept for exactly the pictures in the batch.

    Args:
        run: uint8 (N, S, S, C), and the names of further outputs if a picture wants any -> rows.
        taken: From the queue.
    """
    batch, late = taken.batch, taken.late
    rows: Rows | None = None
    began = time.perf_counter()
    try:
        if batch:
            stacked = np.stack([item.pixels for item in batch])  # (N, S, S, C)
            extras = frozenset().union(*(item.submission.extras for item in batch))
            rows = run(stacked, extras) if extras else run(stacked)
            if not len(rows.logits) == len(rows.probabilities) == len(batch):
                raise InferenceFailedError("The engine answered another number of images.")
    except Exception as error:  # noqa: BLE001  # whatever it was, the next batch must run
        for item in batch:
            item.submission.images = ()  # at once: the next batch may begin before it is told
        # not kept by any name here: its traceback holds this frame
        return Done(batch, late, None, error, began, time.perf_counter())
    return Done(batch, late, rows, None, began, time.perf_counter())


def hand_out(done: Done) -> None:
    """Give each picture of a batch its answer, or what went wrong, on the event loop."""
    for submission in done.late:
        submission.expire()
    if done.rows is not None:
        size, seconds = len(done.batch), done.ended - done.began
        logits, probabilities = done.rows.logits, done.rows.probabilities
        for row, item in enumerate(done.batch):
            queue_s = done.began - item.submission.since
            own = logits[row], probabilities[row]
            ride = Ride(*own, queue_s, seconds, size, done.rows, row, done.began)
            item.submission.arrive(item.position, ride)
    elif done.error is not None:
        _fail(done.batch, done.error)


def _fail(batch: Sequence[Riding], error: Exception) -> None:
    """Give each request of a failed batch an error of its own.

    The first one gets the engine's, which is logged with its traceback. One object for all would
    gather every request's frames, and its traceback would be logged once for each of them.
    """
    own = error
    for item in batch:
        if not item.submission.answer.done():
            item.submission.fail(own)
            own = _repeat(error)


def _repeat(error: Exception) -> ServiceError:
    match error:
        case InferenceFailedError():
            return InferenceFailedError(str(error))
        case MemoryError() | OutOfMemoryError():
            return OutOfMemoryError()
        case _:
            return InternalError()
