"""Which requests may wait for the engine: bounded in number, and by what can be in time.

Everything here belongs to the event loop. `overload` has the words of the
refusals.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from service.inference.cost import Plan
from service.inference.overload import never_in_time, no_places, too_late


class Admission:
    """Counts the pictures in flight, and refuses those that would come too late.

    Args:
        plan: Times of the engine and of decoding.
        max_queue: Pictures that may be in flight.
        deadline_s: The longest that a request can have.
    """

    def __init__(self, plan: Plan, max_queue: int, deadline_s: float) -> None:
        """Begin with none."""
        self.plan = plan
        self.max_queue = max_queue
        self.deadline_s = deadline_s
        self.under_way = self.undecoded = 0  # the latter: what the decode pool has yet to do

    @contextmanager
    def admit(self, count: int, patience_s: float) -> Iterator[None]:
        """Hold places for pictures from before they are decoded until they are answered.

        Args:
            count: Pictures.
            patience_s: Seconds until the request's deadline.

        Raises:
            OverloadedError: If there are too few places, or the answer would come too late.
            DeadlineExceededError: If it would even with nothing else under way.
        """
        self.refuse_overload(count, patience_s)
        with self.hold(count):
            yield

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Keep places that were admitted for what comes after the engine."""
        self.under_way += count
        try:
            yield
        finally:
            self.under_way -= count

    def has_room(self, count: int, patience_s: float) -> bool:
        """Tell what `refuse_overload` would say of pictures for no pool, without the words."""
        ahead, is_idle = self.under_way + count, not self.under_way
        if ahead > self.max_queue:
            return False
        in_time = self.plan.wait_s(ahead, is_idle=is_idle) <= patience_s
        return in_time or (is_idle and not self.plan.is_credible(self.deadline_s))

    def refuse_overload(
        self, count: int, patience_s: float, *, promised: int = 0, for_pool: int = 0
    ) -> None:
        """Say early what `admit` and `decoding` would say, before a body is read for nothing.

        Args, beside those of `admit`:
            promised: Places that others were promised and have not taken yet.
            for_pool: Of the pictures, those that surely go to the decode pool.

        Raises:
            OverloadedError: Says when to come back, by the measured rates.
            DeadlineExceededError: If coming back would not help.
        """
        plan, limit, waiting = self.plan, self.max_queue, self.under_way + promised
        is_idle, beyond = not self.under_way, waiting + count - limit
        undecoded = self.undecoded + for_pool if self.undecoded and for_pool else 0
        need_s = plan.wait_s(waiting + count, undecoded, is_idle=is_idle)
        if beyond <= 0 and (
            need_s <= patience_s or (is_idle and not plan.is_credible(self.deadline_s))
        ):
            return
        alone_s = plan.wait_s(count, is_idle=True)
        if alone_s > patience_s:
            raise never_in_time(count, alone_s, patience_s)
        if beyond <= 0:
            raise too_late(waiting, need_s, patience_s)
        # those that are decoded go first
        undecoded = max(0, beyond - (self.under_way - self.undecoded))
        raise no_places(waiting, count, limit, plan.wait_s(beyond, undecoded))

    @contextmanager
    def decoding(self, count: int, patience_s: float) -> Iterator[None]:
        """Count pictures that hold places as the decode pool's, until they are decoded.

        Raises:
            OverloadedError: If it would come to them too late. Where it has nothing to do it never
                would: a rate that one huge photograph has spoilt must be mended by others.
        """
        ahead = self.undecoded
        if ahead and (need_s := self.plan.wait_s(0, ahead + count)) > patience_s:
            raise too_late(ahead, need_s, patience_s)
        self.undecoded += count
        try:
            yield
        finally:
            self.undecoded -= count
