"""Around every request: its id, load shedding, a log line, metrics, and common headers.

Also the last resort: turns an exception that nothing else handled into a problem document.
"""

import asyncio
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.equivalents import Equivalents
from service.api.shedding import TIMEOUT, LoadShedder
from service.api.state import ServiceState
from service.cancellation import DISCONNECT
from service.errors import NotReadyError
from service.log import log, log_request

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST"})
"""Methods of the routes; all others share one label, since clients may send any."""
QUIET_ROUTES = frozenset({"/livez", "/readyz", "/metrics"})
"""Polled every few seconds by machines: logged at debug level only."""

CANCELLED = "The service ended before the request was answered. Send it elsewhere."
"""At the end of the drain timeout the server cancels the remaining requests."""
MAX_DIGITS = 18
"""Of a number in a header; Python refuses to parse thousands."""
NOSNIFF = (b"x-content-type-options", b"nosniff")
CLOSE = (b"connection", b"close")

HandleError = Callable[[Request, Exception], Awaitable[Response]]


class RequestMiddleware:
    """ASGI middleware, outside of the routes and of their error handlers.

    Args:
        app: The routes.
        service: Of the application.
        handle_error: Makes the response if `app` raises before it responds.
    """

    def __init__(self, app: ASGIApp, service: ServiceState, handle_error: HandleError) -> None:
        self.app = app
        self.service = service
        self._equivalents = Equivalents(app)
        self._shedder = LoadShedder(service.models, service.telemetry)
        self._handle_error = handle_error
        self._prefix = os.urandom(8).hex()  # differs for each process and start
        self._numbers = itertools.count()
        self._metric_children: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        method, path = scope["method"], scope["path"]
        request_id, length, timeout_s = self._read_headers(scope)
        scope["request_id"] = request_id
        app = self._equivalents if method == "HEAD" or path[-1:] == "/" else self.app
        status, has_begun, route = 500, False, "none"
        refusal: Response | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((b"x-request-id", request_id))
                headers.append(NOSNIFF)
                if self.service.draining:
                    headers.append(CLOSE)
            await send(message)

        try:
            try:
                if method == "POST":
                    path = path.removeprefix(scope.get("root_path", ""))
                    rejection = self._shedder.check(path, length, timeout_s)
                    if rejection is not None:
                        route = rejection.route
                        await send_with_headers(rejection.start())
                        await send({"type": "http.response.body", "body": rejection.body})
                        return
                await app(scope, receive, send_with_headers)
            except (Exception, asyncio.CancelledError) as error:
                if has_begun:  # the response has begun and cannot be replaced
                    raise
                refusal = await self._error_response(scope, error)
            if refusal is not None:  # sent after the error is freed: its frames keep the body
                await refusal(scope, receive, send_with_headers)
        finally:
            scope.pop(DISCONNECT, None)  # an idle connection keeps the scope
            route = getattr(scope.get("route"), "path", route)
            self._record(route, method, status, time.perf_counter() - began, scope)

    async def _error_response(
        self, scope: Scope, error: Exception | asyncio.CancelledError
    ) -> Response:
        if isinstance(error, asyncio.CancelledError):
            error = NotReadyError(CANCELLED)
        return await self._handle_error(Request(scope), error)

    def _read_headers(self, scope: Scope) -> tuple[bytes, int, float | None]:
        """Read request id, length of the body and time limit.

        The client's id is used if it is short and plain, else one is made. Invalid numbers are
        left to the routes.
        """
        request_id, length, timeout_s = b"", 0, None
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and len(value) <= MAX_DIGITS:
                length = int(value)
            elif name == TIMEOUT and value.isdigit() and len(value) <= MAX_DIGITS:
                timeout_s = int(value) / 1000 or None
            elif name == b"x-request-id" and not request_id and REQUEST_ID.fullmatch(value):
                request_id = bytes(value)
        request_id = request_id or f"{self._prefix}-{next(self._numbers):x}".encode()
        return request_id, length, timeout_s

    def _record(self, route: str, method: str, status: int, seconds: float, scope: Scope) -> None:
        """Count a request that has been answered, and log a line."""
        key = (route, method if method in METHODS else "other", status)
        children = self._metric_children.get(key)
        if children is None:  # routes and methods are a fixed set, so there are few labels
            telemetry = self.service.telemetry
            count = telemetry.requests.labels(*key[:2], str(status))
            children = count, telemetry.request_seconds.labels(route)
            self._metric_children[key] = children
        children[0].inc()
        children[1].observe(seconds)
        level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
        if log.isEnabledFor(level):
            log_request(
                level,
                {
                    "request_id": scope["request_id"].decode(),
                    "method": method[:16],
                    "path": scope["path"][:200],
                    "status": status,
                    "ms": round(1000 * seconds, 2),
                },
            )
