"""Around every request: an id, a line in the log, the counters, headers of every answer.

The outer door, too: what nobody foresaw becomes an answer here.
"""

import asyncio
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.direct import LeanRoute
from service.cancellation import DISCONNECT
from service.errors import NotReadyError
from service.log import log, log_request
from service.observability.metrics import Telemetry

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST"})
"""Those that our routes answer to; a client's own inventions share a label."""
QUIET_ROUTES = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at debug level only."""

TOO_LATE = "The service ended before the request was answered. Send it elsewhere."
"""Whoever is still there when the time to end has run out is cancelled by the server."""
NOSNIFF = (b"x-content-type-options", b"nosniff")

Headers = Sequence[tuple[bytes, bytes]]
Ended = tuple[bytes, float]
"""A request's id, and when it began, on `time.perf_counter`'s clock."""
ShortCuts = Mapping[tuple[str, str], LeanRoute]
AnswerError = Callable[[Request, Exception], Awaitable[Response]]


class Access:
    """ASGI middleware, outside of everything but the server.

    Args:
        app: What answers.
        telemetry: What counts.
        answer_error: What answers when `app` raised before it answered.
        short_cuts: Routes that are asked without going through `app`, by method and path.
    """

    def __init__(
        self,
        app: ASGIApp,
        telemetry: Telemetry,
        answer_error: AnswerError,
        short_cuts: ShortCuts = MappingProxyType({}),
    ) -> None:
        """Prepare ids that no other process or start of this one gives."""
        self.app = app
        self.telemetry = telemetry
        self.answer_error = answer_error
        self.short_cuts = short_cuts
        self._prefix = os.urandom(8).hex()
        self._numbers = itertools.count()
        self._kinds: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        app = self.app
        if (route := self.short_cuts.get((scope["method"], scope["path"]))) is not None:
            scope["route"], app = route, route.answer
        request_id = scope["request_id"] = self.request_id(scope["headers"])
        status, has_begun = 500, False
        refusal: Response | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((b"x-request-id", request_id))
                headers.append(NOSNIFF)
                if scope["app"].state.draining:
                    headers.append((b"connection", b"close"))
            await send(message)

        try:
            try:
                await app(scope, receive, send_with_headers)
            except (Exception, asyncio.CancelledError) as error:
                if has_begun:  # half an answer cannot be taken back
                    raise
                refusal = await self._refuse(scope, error)
            if refusal is not None:  # sent when the error is gone, whose frames hold the body
                await refusal(scope, receive, send_with_headers)
        finally:
            scope.pop(DISCONNECT, None)  # the connection keeps the scope while it is idle
            self.note(scope, status, ((request_id, began),))

    async def _refuse(self, scope: Scope, error: Exception | asyncio.CancelledError) -> Response:
        if isinstance(error, asyncio.CancelledError):
            error = NotReadyError(TOO_LATE)
        return await self.answer_error(Request(scope), error)

    def request_id(self, headers: Headers) -> bytes:
        """Take the client's id if it is short and plain, else make one."""
        for name, value in headers:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                return bytes(value)
        return f"{self._prefix}-{next(self._numbers):x}".encode()

    def note(self, scope: Scope, status: int, ended: Sequence[Ended]) -> None:
        """Count requests of one kind that have just been answered, and log a line for each.

        Args:
            scope: Of one of them; method, path and route are those of all.
            status: Of their answers.
            ended: Them.
        """
        now = time.perf_counter()
        route = getattr(scope.get("route"), "path", "none")
        count, durations = self._figures(route, scope["method"], status)
        count.inc(len(ended))
        level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
        is_told = log.isEnabledFor(level)
        for request_id, began in ended:
            durations.observe(now - began)
            if is_told:
                log_request(
                    level,
                    {
                        "request_id": request_id.decode(),
                        "method": scope["method"][:16],
                        "path": scope["path"][:200],
                        "status": status,
                        "ms": round(1000 * (now - began), 2),
                    },
                )

    def _figures(self, route: str, method: str, status: int) -> tuple[Any, Any]:
        """Look up the counter and the histogram of a kind of request."""
        key = (route, method if method in METHODS else "other", status)
        if key not in self._kinds:  # routes and methods are ours, so there are few
            count = self.telemetry.requests.labels(*key[:2], str(status))
            self._kinds[key] = count, self.telemetry.request_seconds.labels(route)
        return self._kinds[key]
