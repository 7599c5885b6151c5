"""Which requests may wait for the engine: limited in number, and by what can be in time.

A rejection says what was seen, the rule, and the way out. Everything here belongs to the event
loop. Times in seconds.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from service.errors import DeadlineExceededError, OverloadedError
from service.inference.cost import CostModel

MARGIN = 1.5
"""Of a recommended deadline, over the best time so far: runs differ, and an image has to be
decoded first."""

Rejection = Callable[[], OverloadedError | DeadlineExceededError]
"""Why images are not admitted, with the figures; call it for the exception."""


class Admission:
    """Counts the images in flight, and rejects those that would be answered too late.

    Args:
        cost: Times of the engine and of decoding.
        max_in_flight: Images that may be in flight.
        deadline_s: The longest that a request can have.
        pooled_bytes: Larger files are decoded in the decode pool.

    Attributes:
        in_flight: Images that were admitted and are not answered.
        decoding_images: Those that the decode pool has yet to decode.
    """

    def __init__(
        self,
        cost: CostModel,
        max_in_flight: int,
        deadline_s: float = math.inf,
        pooled_bytes: int = 0,
    ) -> None:
        self.cost = cost
        self.max_in_flight = max_in_flight
        self.deadline_s = deadline_s
        self.pooled_bytes = pooled_bytes
        self.in_flight = self.decoding_images = 0

    def verdict(
        self, count: int, timeout_s: float, *, file_bytes: int = 0, ahead: int = 0
    ) -> Rejection | None:
        """Tell why images are not admitted now; None if they are.

        Args:
            count: Images.
            timeout_s: Seconds until the request's deadline.
            file_bytes: Of a body of image files that is still to be read.
            ahead: Images that are to be admitted before them.
        """
        cost, waiting = self.cost, self.in_flight + ahead
        is_idle = not waiting
        if waiting + count > self.max_in_flight:
            return partial(self._queue_full, count, timeout_s)
        decoding = self.decoding_images
        if decoding:  # an image that does not go to the decode pool does not wait for it
            decoding = decoding + 1 if file_bytes > self.pooled_bytes else 0
        need_s = cost.estimate_wait_s(waiting + count, decoding, is_idle=is_idle)
        if need_s <= timeout_s or (is_idle and not cost.is_credible(self.deadline_s)):
            return None
        return partial(self._too_late, count, timeout_s, need_s)

    def _queue_full(self, count: int, timeout_s: float) -> OverloadedError | DeadlineExceededError:
        """Say when enough slots will be free; or that even an idle service would be too late."""
        if (alone_s := self.cost.estimate_wait_s(count, is_idle=True)) > timeout_s:
            return impossible(count, alone_s, timeout_s)
        waiting, beyond = self.in_flight, self.in_flight + count - self.max_in_flight
        # those that are decoded leave first
        decoding = max(0, beyond - (waiting - self.decoding_images))
        wait_s = self.cost.estimate_wait_s(beyond, decoding)
        return queue_full(waiting, count, self.max_in_flight, wait_s)

    def _too_late(
        self, count: int, timeout_s: float, need_s: float
    ) -> OverloadedError | DeadlineExceededError:
        """Say what the answer would take; or that even an idle service would be too late."""
        if (alone_s := self.cost.estimate_wait_s(count, is_idle=True)) > timeout_s:
            return impossible(count, alone_s, timeout_s)
        return deadline_unreachable(self.in_flight, need_s, timeout_s)

    def acquire(self, count: int, timeout_s: float) -> None:
        """Occupy slots from before images are decoded; `release` them when they are answered.

        Raises:
            OverloadedError: If there are too few slots, or others make the answer come too late;
                it says when to try again, by the measured rates.
            DeadlineExceededError: If it would come too late even with nothing else in flight.
        """
        verdict = self.verdict(count, timeout_s)
        if verdict is not None:
            raise verdict()
        self.in_flight += count

    def release(self, count: int) -> None:
        """Give slots back."""
        self.in_flight -= count

    @contextmanager
    def decode_slot(self, count: int, timeout_s: float) -> Iterator[None]:
        """Count images in flight as the decode pool's, until they are decoded.

        Raises:
            OverloadedError: If the pool would come to them too late. An idle pool never would: a
                rate that one huge photograph has spoilt must be corrected by others.
        """
        ahead = self.decoding_images
        if ahead and (need_s := self.cost.estimate_wait_s(0, ahead + count)) > timeout_s:
            raise deadline_unreachable(ahead, need_s, timeout_s)
        self.decoding_images += count
        try:
            yield
        finally:
            self.decoding_images -= count


def queue_full(waiting: int, count: int, limit: int, wait_s: float) -> OverloadedError:
    """Say that fewer slots are free than there are images.

    Args:
        waiting: Images in flight.
        count: Images of the request.
        limit: Slots.
        wait_s: Until enough are free.
    """
    return retry_later(
        f"{waiting} images are in flight; the limit is {limit}, so {count} more do not fit.", wait_s
    )


def deadline_unreachable(waiting: int, need_s: float, timeout_s: float) -> OverloadedError:
    """Say that the answer would come after the deadline, because others wait.

    Args:
        waiting: Images in flight.
        need_s: Until the answer.
        timeout_s: Until the deadline.
    """
    return retry_later(
        f"{waiting} images are in flight, so the answer would take about {need_s:.2g} s; "
        f"the deadline is in {timeout_s:.2g} s.",
        need_s - timeout_s,
    )


def impossible(count: int, alone_s: float, timeout_s: float) -> DeadlineExceededError:
    """Say that the deadline cannot be met, however often the client tries again.

    Args:
        count: Images of the request.
        alone_s: What they take with nothing else in flight.
        timeout_s: Until the deadline.
    """
    take = "An image takes" if count == 1 else f"{count} images take"
    fewer = "" if count == 1 else "Send fewer at once, or a"
    return DeadlineExceededError(
        f"{take} about {alone_s:.2g} s even with nothing else in flight; the deadline is in "
        f"{timeout_s:.2g} s. {fewer or 'A'}llow at least {math.ceil(1000 * MARGIN * alone_s)} ms; "
        "RESNET_DEADLINE_S is the upper limit."
    )


def finishing_full(waiting: int, work: str, limit: int, wait_s: float) -> OverloadedError:
    """Say that too many images wait to be drawn, or written.

    Args:
        waiting: Images that do.
        work: What is done to them.
        limit: Images that may wait for it.
        wait_s: Until few enough do.
    """
    return retry_later(f"{waiting} images wait to be {work}; the limit is {limit}.", wait_s)


def finishing_too_late(waiting: int, work: str, need_s: float, timeout_s: float) -> OverloadedError:
    """Say that the answer would come after the deadline, because others wait for the same work."""
    return retry_later(
        f"{waiting} images wait to be {work}, so the answer would take about {need_s:.2g} s; "
        f"the deadline is in {timeout_s:.2g} s.",
        need_s - timeout_s,
    )


def retry_later(message: str, wait_s: float) -> OverloadedError:
    """Add when to try again: `Retry-After` has whole seconds, at least one."""
    retry_after_s = max(1, math.ceil(wait_s))
    return OverloadedError(
        f"{message} Try again in {retry_after_s} s, or raise RESNET_MAX_IN_FLIGHT and "
        "RESNET_DEADLINE_S.",
        retry_after_s=retry_after_s,
    )
