"""How many bytes of bodies are held at once, over all requests of the process.

The queue bounds the images that wait for the engine. This bounds bodies that are still coming in,
and files that wait to be decoded. A body must come at a minimum rate. Small bodies have a reserve
of their own. Where there is no room left, some bodies are ended to make room: slow ones, and those
of clients that hold more than the one that asks.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Self

from service import memory
from service.errors import OverloadedError, RequestTimeoutError, ServiceError

SMALL_BYTES = 262_144
"""A body up to this size may use the reserve, and so may the beginning of a larger one."""
RESERVE = 8
"""The limit divided by this is the reserve: 32 MB, or 128 such bodies, of the default limit."""
WINDOW_S = 10.0
"""The minimum rate is the mean over so many seconds: a phone between two cells sends nothing for
some."""
SLOW_S = 0.5
"""Where there is no room, a body is slow whose present window is older than this."""
TRIM_BYTES, CALM_S = 33_554_432, 0.5
"""When bodies of so many bytes are gone, and fewer were since then, the heap is trimmed: glibc kept
190 MB after 288 refusals to 8 clients. To have it keep nothing (M_MMAP_THRESHOLD) would take a
photograph of 46 KB 8 % longer, for pages that are taken and given back each time."""
CHECK_S = 0.25
"""Between two checks of all bodies' timeouts: one timer costs less than one for each request."""
RETRY_S = 1
"""Within this time a body is whole or slow, and slow ones make room."""


class BodyBudget:
    """Counts the bytes of all bodies, and ends some where there is no room.

    Args:
        limit: Over all requests, in bytes.
        largest: Of one request.
        min_bytes_s: At which a body must come, over `WINDOW_S`; 0 for any rate.
    """

    def __init__(self, limit: int, largest: int = 0, min_bytes_s: int = 0) -> None:
        self.limit = limit
        self.held = 0
        self.window_bytes = max(1, round(min_bytes_s * WINDOW_S))
        self.window_s = WINDOW_S if min_bytes_s else float("inf")
        self.uploads: set[Upload] = set()
        self.is_limited = memory.is_limited()
        self.shared = limit - min(limit // RESERVE, limit - largest)  # without the reserve
        self._freed = 0  # bytes since the heap was last trimmed
        self._trimming: asyncio.TimerHandle | None = None
        self.is_watching = False

    def find_room(self, upload: "Upload", count: int) -> None:
        """End other bodies if they must make room for so many bytes more of this one.

        Raises:
            OverloadedError: If there is no room.
        """
        is_small = upload.held + count <= SMALL_BYTES
        missing = self.held + count - (self.limit if is_small else self.shared)
        if missing <= 0:
            return
        now, victims = asyncio.get_running_loop().time(), self._victims(upload, count)
        if sum(each.held for each in victims) < missing:
            raise OverloadedError(
                f"Requests in flight hold {self.held:,} bytes and {self.limit:,} are allowed. "
                f"Try again in {RETRY_S} s, or raise RESNET_MAX_BUFFERED_BYTES.",
                retry_after_s=RETRY_S,
            )
        victims.sort(key=lambda each: each.held * (now - each.since))  # what hinders others most
        while missing > 0:
            missing -= victims[-1].held
            victims.pop().evict()

    def release(self, count: int) -> None:
        """Count so many bytes less, and give the memory back to the system where they were many."""
        self.held -= count
        self._freed += count
        if self._freed >= TRIM_BYTES and self._trimming is None:
            self._freed = 0
            self._trimming = asyncio.get_running_loop().call_later(CALM_S, self._trim_if_calm)

    def _trim_if_calm(self) -> None:
        self._trimming = None
        if self._freed >= TRIM_BYTES:  # as many again: what was trimmed would be taken at once
            self.release(0)
            return
        with suppress(RuntimeError):  # no more threads; the next time will do
            asyncio.get_running_loop().run_in_executor(None, memory.trim)

    def watch(self, timeout_s: float) -> None:
        """Check from now on whether bodies are due."""
        self.is_watching = True
        delay_s = min(CHECK_S, timeout_s / 4, self.window_s / 4)
        asyncio.get_running_loop().call_later(delay_s, self._check)

    def _check(self) -> None:
        """End the bodies whose time is over."""
        now, soonest_s = asyncio.get_running_loop().time(), float("inf")
        self.is_watching = False
        for upload in self.uploads:
            if upload.is_arriving:
                left_s = upload.due - now
                if left_s <= 0:
                    upload.end()
                else:
                    soonest_s = min(soonest_s, left_s)
        if soonest_s < float("inf"):
            self.watch(4 * soonest_s)

    def _victims(self, upload: "Upload", count: int) -> list["Upload"]:
        """List bodies still coming in that are slow, or without which their client holds more."""
        now, shares = asyncio.get_running_loop().time(), Counter[str]()
        for each in self.uploads:
            shares[each.client] += each.held
        own = shares[upload.client] + count
        return [
            each
            for each in self.uploads
            if each.is_arriving
            and each is not upload
            and (now - each.since > SLOW_S or shares[each.client] - each.held > own)
        ]


class Upload:
    """The body of one request: a context manager, to be entered on the event loop.

    Args:
        budget: Of all bodies. All bytes are given back to it at the end.
        client: Address and port, as in ASGI's scope; behind a proxy all have the same.

    Attributes:
        held: Its bytes, while it comes in and until they are given back.
        since: When the present window of the minimum rate began, on the event loop's clock.
        timeout: Ends the wait for the body; None when it is not waited for.

    Raises:
        MemoryError: If the process could not take what a small request needs.
    """

    __slots__ = (
        "_budget",
        "_due_bytes",
        "_is_evicted",
        "_last",
        "client",
        "held",
        "since",
        "timeout",
    )

    def __init__(self, budget: BodyBudget, client: tuple[str, int] | None = None) -> None:
        if budget.is_limited:
            memory.demand(memory.HEADROOM_BYTES)
        self.client = client[0] if client else ""
        self.held = 0
        self.since = self._last = 0.0
        self.timeout: asyncio.Timeout | None = None
        self._budget = budget
        self._due_bytes = budget.window_bytes
        self._is_evicted = False

    def __enter__(self) -> Self:
        """Be counted."""
        self._budget.uploads.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give all bytes back."""
        self._budget.uploads.discard(self)
        self._budget.release(self.held)
        self.held = 0

    def charge(self, count: int) -> None:
        """Count so many bytes more, or fewer.

        Raises:
            OverloadedError: If there is no room.
        """
        budget = self._budget
        if self._is_evicted:  # its next bytes were there before the timeout
            raise self._evicted()
        if budget.held + count > budget.shared and count > 0:
            budget.find_room(self, count)
        budget.held += count
        self.held += count
        self._due_bytes -= count
        if self._due_bytes <= 0:
            self._due_bytes = budget.window_bytes
            self.since = asyncio.get_running_loop().time()

    @property
    def is_arriving(self) -> bool:
        """Whether the body is still coming in."""
        return self.timeout is not None

    @property
    def due(self) -> float:
        """When the body must be whole, or have come so far, on the event loop's clock."""
        return min(self._last, self.since + self._budget.window_s)

    def clock(self, timeout_s: float) -> asyncio.Timeout:
        """Give a timeout for the whole body, which ends sooner where the body comes too slowly."""
        self.since = asyncio.get_running_loop().time()
        self._last = self.since + timeout_s
        self.timeout = asyncio.timeout(None)  # the budget's check ends it
        if not self._budget.is_watching:
            self._budget.watch(timeout_s)
        return self.timeout

    def end(self) -> None:
        """Stop waiting for the body, now."""
        if self.timeout is not None and not self.timeout.expired():
            self.timeout.reschedule(0)
        self.timeout = None

    def evict(self) -> None:
        """Make room for others: give all bytes back at once, and have the request end."""
        self._is_evicted = True
        self._budget.release(self.held)
        self.held = 0
        self.end()

    def timeout_error(self, received: int, timeout_s: float) -> ServiceError:
        """Say why the wait for the body has ended.

        Args:
            received: Bytes.
            timeout_s: For the whole body.
        """
        if self._is_evicted:
            return self._evicted()
        if asyncio.get_running_loop().time() >= self._last:
            return RequestTimeoutError(
                f"The body did not arrive within {timeout_s:g} s; {received:,} bytes did. "
                "Send it faster, or in smaller requests."
            )
        rate = self._budget.window_bytes / WINDOW_S
        return RequestTimeoutError(
            f"{received:,} bytes of the body arrived, in the last {WINDOW_S:g} s fewer than "
            f"{rate:,.0f} a second. Send it faster, or lower RESNET_MIN_RECEIVE_BYTES_S."
        )

    @staticmethod
    def _evicted() -> OverloadedError:
        return OverloadedError(
            "There was no room for the bodies of other clients, and this one came too slowly or "
            f"its client held more than others. Try again in {RETRY_S} s, or raise "
            "RESNET_MAX_BUFFERED_BYTES.",
            retry_after_s=RETRY_S,
        )
