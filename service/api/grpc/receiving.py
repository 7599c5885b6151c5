"""Receive the messages of requests within limits of time and of memory.

gRPC gives a message when all of it is there, and does not say how much has arrived. So it is the
number of messages in arrival that is limited: together they can have `RESNET_MAX_BUFFERED_BYTES`.
Until a call's message may arrive, the client can send no more than HTTP/2's first window, 64 KB.
"""

import asyncio
from typing import Any

from grpc.aio import EOF

from service.api.budget import RETRY_S, SLOW_S
from service.errors import MalformedRequestError, OverloadedError, RequestTimeoutError
from service.settings import Settings


class Receiver:
    """Receives messages; belongs to the event loop.

    Args:
        settings: The limits.
        at_once: Messages that may arrive at once.
    """

    def __init__(self, settings: Settings, at_once: int) -> None:
        self._timeout_s = settings.body_timeout_s
        self._limit = settings.max_body_bytes
        self._slots = asyncio.Semaphore(at_once)
        self._arriving: dict[asyncio.Timeout, float] = {}  # since when; the oldest first

    async def receive(self, context: Any) -> bytes:
        """Receive the only message of a call.

        Raises:
            RequestTimeoutError: If it does not arrive in time.
            OverloadedError: If others waited for its place, and it arrived slowly.
            MalformedRequestError: If there is none, or gRPC refused it.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        try:
            async with asyncio.timeout_at(deadline) as limit:
                message = await self._read(context, limit)
        except TimeoutError:
            raise self._error(is_evicted=loop.time() < deadline) from None
        if message is EOF:
            raise MalformedRequestError(
                f"No message arrived, or it had more than {self._limit:,} bytes. Send one, or "
                "raise RESNET_MAX_BODY_BYTES."
            )
        body: bytes = message
        return body

    async def _read(self, context: Any, limit: asyncio.Timeout) -> Any:
        await self._acquire()
        self._arriving[limit] = asyncio.get_running_loop().time()
        try:
            return await context.read()
        finally:
            del self._arriving[limit]
            self._slots.release()

    async def _acquire(self) -> None:
        """Wait for a slot; who has waited for long makes room."""
        while self._slots.locked():
            try:
                async with asyncio.timeout(SLOW_S):
                    await self._slots.acquire()
                    return
            except TimeoutError:
                self._evict()
        await self._slots.acquire()

    def _evict(self) -> None:
        """Stop waiting for the message that has been arriving for longest, if that is long."""
        now = asyncio.get_running_loop().time()
        for limit, since in self._arriving.items():
            if now - since >= SLOW_S and not limit.expired():
                limit.reschedule(now)
                return

    def _error(self, *, is_evicted: bool) -> OverloadedError | RequestTimeoutError:
        if is_evicted:
            return OverloadedError(
                "Other messages waited for this one, which arrived slowly. Try again "
                f"in {RETRY_S} s, or raise RESNET_MAX_BUFFERED_BYTES.",
                retry_after_s=RETRY_S,
            )
        return RequestTimeoutError(
            f"The message did not arrive within {self._timeout_s:g} s. Send it faster, or in "
            "smaller requests."
        )
