"""A limit on the bytes of request bodies in memory, over all requests of the process.

The queue limits the images that wait for the engine. This limits bodies that are being received,
and files that wait to be decoded. A body must arrive at a minimum rate. Small bodies have a reserve
of their own. When the budget is used up, some bodies are evicted: slow ones, and those of clients
that use more of the budget than the client that needs room.
"""

import asyncio
from collections import Counter
from types import TracebackType
from typing import Self

from service import memory
from service.errors import OverloadedError, RequestTimeoutError, ServiceError

RESERVED_BYTES = 262_144
"""A body up to this size may use the reserve, and so may the beginning of a larger one."""
RESERVE = 8
"""The reserve is the limit divided by this: of the default 32 MB, or 128 such bodies."""
WINDOW_S = 10.0
"""The minimum rate is the mean over so many seconds: a phone that changes cells pauses for some."""
SLOW_S = 0.5
"""A body whose present window is older than this counts as slow when room is needed."""
CHECK_S = 0.25
"""Between two checks of all bodies: one timer costs less than one for each request."""
RETRY_S = 1
"""Within this time a body is complete, or so slow that it can be evicted."""


class BodyBudget:
    """Counts the bytes of all bodies, and evicts some when there is no room.

    Args:
        limit: Over all requests, in bytes.
        largest: Of one request, in bytes.
        min_bytes_s: Minimum rate of a body, over `WINDOW_S`; 0 for none.
    """

    def __init__(self, limit: int, largest: int = 0, min_bytes_s: int = 0) -> None:
        self.limit = limit
        self.buffered = 0
        self.window_bytes = max(1, round(min_bytes_s * WINDOW_S))
        self.window_s = WINDOW_S if min_bytes_s else float("inf")
        self.uploads: set[Upload] = set()
        self.is_limited = memory.is_limited()
        self.unreserved = limit - min(limit // RESERVE, limit - largest)  # without the reserve
        self._trimmer = memory.HeapTrimmer()
        self.is_check_scheduled = False

    def find_room(self, upload: "Upload", count: int) -> None:
        """Evict other bodies if `count` more bytes of this one do not fit.

        Raises:
            OverloadedError: If there is no room.
        """
        is_small = upload.buffered + count <= RESERVED_BYTES
        missing = self.buffered + count - (self.limit if is_small else self.unreserved)
        if missing <= 0:
            return
        now, candidates = asyncio.get_running_loop().time(), self._evictable(upload, count)
        if sum(each.buffered for each in candidates) < missing:
            raise OverloadedError(
                f"The bodies of the requests in flight have {self.buffered:,} bytes; "
                f"the limit is {self.limit:,}. Try again in {RETRY_S} s, or raise "
                "RESNET_MAX_BUFFERED_BYTES.",
                retry_after_s=RETRY_S,
            )
        # the largest use of the budget, in bytes and time, goes first
        candidates.sort(key=lambda each: each.buffered * (now - each.window_began))
        while missing > 0:
            missing -= candidates[-1].buffered
            candidates.pop().evict()

    def release(self, count: int) -> None:
        """Return bytes to the budget, and sometimes memory to the system."""
        self.buffered -= count
        self._trimmer.freed(count)

    def schedule_check(self, timeout_s: float) -> None:
        """Check all bodies soon, and repeatedly while any is being received."""
        self.is_check_scheduled = True
        delay_s = min(CHECK_S, timeout_s / 4, self.window_s / 4)
        asyncio.get_running_loop().call_later(delay_s, self._check)

    def _check(self) -> None:
        """Stop waiting for the bodies that are past their deadline or too slow."""
        now, soonest_s = asyncio.get_running_loop().time(), float("inf")
        self.is_check_scheduled = False
        for upload in self.uploads:
            if upload.is_arriving:
                left_s = upload.due - now
                if left_s <= 0:
                    upload.end()
                else:
                    soonest_s = min(soonest_s, left_s)
        if soonest_s < float("inf"):
            self.schedule_check(4 * soonest_s)

    def _evictable(self, upload: "Upload", count: int) -> list["Upload"]:
        """List bodies in arrival that are slow, or whose client uses more of the budget."""
        now, shares = asyncio.get_running_loop().time(), Counter[str]()
        for each in self.uploads:
            shares[each.client] += each.buffered
        own = shares[upload.client] + count
        return [
            each
            for each in self.uploads
            if each.is_arriving
            and each is not upload
            and (now - each.window_began > SLOW_S or shares[each.client] - each.buffered > own)
        ]


class Upload:
    """The body of one request: a context manager, to be entered on the event loop.

    Args:
        budget: Of all bodies; at the end all bytes are returned to it.
        client: Address and port, as in ASGI's scope; behind a proxy all have the same.

    Attributes:
        buffered: Bytes that are charged to the budget.
        received: Bytes of the body, as it was sent, once nothing waits for more.
        window_began: Begin of the present window of the minimum rate, on the event loop's clock.
        timeout: Limits the wait for the body; None while nothing waits for it.

    Raises:
        MemoryError: If the process has not even the memory for a small request.
    """

    __slots__ = (
        "_budget",
        "_deadline",
        "_due_bytes",
        "_is_evicted",
        "buffered",
        "client",
        "received",
        "timeout",
        "window_began",
    )

    def __init__(self, budget: BodyBudget, client: tuple[str, int] | None = None) -> None:
        if budget.is_limited:
            memory.demand(memory.HEADROOM_BYTES)
        self.client = client[0] if client else ""
        self.buffered = self.received = 0
        self.window_began = self._deadline = 0.0
        self.timeout: asyncio.Timeout | None = None
        self._budget = budget
        self._due_bytes = budget.window_bytes
        self._is_evicted = False

    def __enter__(self) -> Self:
        """Add this body to the budget."""
        self._budget.uploads.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Return all bytes to the budget."""
        self._budget.uploads.discard(self)
        self._budget.release(self.buffered)
        self.buffered = 0

    def charge(self, count: int) -> None:
        """Charge bytes to the budget; a negative `count` returns some.

        Raises:
            OverloadedError: If there is no room.
        """
        budget = self._budget
        if self._is_evicted:  # bytes that arrived before the timeout took effect
            raise self._eviction_error()
        if budget.buffered + count > budget.unreserved and count > 0:
            budget.find_room(self, count)
        budget.buffered += count
        self.buffered += count
        self._due_bytes -= count
        if self._due_bytes <= 0:
            self._due_bytes = budget.window_bytes
            self.window_began = asyncio.get_running_loop().time()

    @property
    def is_arriving(self) -> bool:
        """Whether the body is still being received."""
        return self.timeout is not None

    @property
    def due(self) -> float:
        """When the body is late or too slow, on the event loop's clock."""
        return min(self._deadline, self.window_began + self._budget.window_s)

    def receive_timeout(self, timeout_s: float) -> asyncio.Timeout:
        """Return a timeout for the body, which expires early if it arrives too slowly."""
        self.window_began = asyncio.get_running_loop().time()
        self._deadline = self.window_began + timeout_s
        self.timeout = asyncio.timeout(None)  # `BodyBudget._check` reschedules it
        if not self._budget.is_check_scheduled:
            self._budget.schedule_check(timeout_s)
        return self.timeout

    def end(self) -> None:
        """Stop waiting for the body, now."""
        if self.timeout is not None and not self.timeout.expired():
            self.timeout.reschedule(0)
        self.timeout = None

    def evict(self) -> None:
        """Return all bytes to the budget at once, and end the request."""
        self._is_evicted = True
        self._budget.release(self.buffered)
        self.buffered = 0
        self.end()

    def timeout_error(self, received: int, timeout_s: float) -> ServiceError:
        """Explain why the wait for the body ended.

        Args:
            received: Bytes.
            timeout_s: For the whole body.
        """
        if self._is_evicted:
            return self._eviction_error()
        if asyncio.get_running_loop().time() >= self._deadline:
            return RequestTimeoutError(
                f"The body did not arrive within {timeout_s:g} s; {received:,} bytes did. "
                "Send it faster, or in smaller requests."
            )
        rate = self._budget.window_bytes / WINDOW_S
        return RequestTimeoutError(
            f"{received:,} bytes of the body arrived, in the last {WINDOW_S:g} s "
            f"fewer than {rate:,.0f} a second. Send it faster, or lower "
            "RESNET_MIN_RECEIVE_BYTES_S."
        )

    @staticmethod
    def _eviction_error() -> OverloadedError:
        return OverloadedError(
            "The memory for bodies is used up, and this body arrived too slowly, or "
            f"its client sent more than others. Try again in {RETRY_S} s, or raise "
            "RESNET_MAX_BUFFERED_BYTES.",
            retry_after_s=RETRY_S,
        )
