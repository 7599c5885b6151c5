"""What a request is told that finds no room: what was seen, the rule, the way out.

`service.inference.batcher` knows the numbers. Times in seconds.
"""

import math

from service.errors import DeadlineExceededError, OverloadedError

MARGIN = 1.5
"""Of a deadline that is recommended, over the best time seen: runs differ, and a picture has to be
decoded first."""


def no_places(waiting: int, count: int, limit: int, wait_s: float) -> OverloadedError:
    """Say that fewer places are free than there are pictures.

    Args:
        waiting: Pictures under way.
        count: Pictures that ask.
        limit: Places.
        wait_s: Until enough are free.
    """
    return _come_back(
        f"{waiting} images are under way and {limit} are allowed; {count} do not fit.", wait_s
    )


def too_late(waiting: int, need_s: float, patience_s: float) -> OverloadedError:
    """Say that the answer would come after the deadline, because others wait.

    Args:
        waiting: Pictures under way.
        need_s: Until the answer.
        patience_s: Until the deadline.
    """
    return _come_back(
        f"{waiting} images are under way, so the answer would take about {need_s:.2g} s; "
        f"the deadline is in {patience_s:.2g} s.",
        need_s - patience_s,
    )


def finishing_full(waiting: int, work: str, limit: int, wait_s: float) -> OverloadedError:
    """Say that too many images wait to be drawn, or written.

    Args:
        waiting: Images that do.
        work: What is done to them.
        limit: Images that may wait for it.
        wait_s: Until enough have not to any more.
    """
    return _come_back(f"{waiting} images wait to be {work}, and {limit} are allowed.", wait_s)


def finishing_too_late(
    waiting: int, work: str, need_s: float, patience_s: float
) -> OverloadedError:
    """Say that the answer would come after the deadline, because others wait for the same work."""
    return _come_back(
        f"{waiting} images wait to be {work}, so the answer would take about {need_s:.2g} s; "
        f"the deadline is in {patience_s:.2g} s.",
        need_s - patience_s,
    )


def never_in_time(count: int, alone_s: float, patience_s: float) -> DeadlineExceededError:
    """Say that the deadline cannot be met, however often the client comes back.

    Args:
        count: Pictures that ask.
        alone_s: What they take with nothing else under way.
        patience_s: Until the deadline.
    """
    take = "An image takes" if count == 1 else f"{count} images take"
    fewer = "" if count == 1 else "Send fewer at once, or a"
    return DeadlineExceededError(
        f"{take} about {alone_s:.2g} s even with nothing else in flight; the deadline is in "
        f"{patience_s:.2g} s. {fewer or 'A'}llow at least {math.ceil(1000 * MARGIN * alone_s)} ms; "
        "RESNET_DEADLINE_MS is the upper limit."
    )


def _come_back(message: str, wait_s: float) -> OverloadedError:
    retry_after_s = _whole(wait_s)
    return OverloadedError(
        f"{message} Try again in {retry_after_s} s, or raise RESNET_MAX_QUEUE and "
        "RESNET_DEADLINE_MS.",
        retry_after_s=retry_after_s,
    )


def _whole(seconds: float) -> int:
    """Round up: `Retry-After` has whole seconds, and one at the least."""
    return max(1, math.ceil(seconds))
