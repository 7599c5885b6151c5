"""Around every request: its id, load shedding, a log line, metrics, and common headers.

Also the last resort: turns an exception that nothing else handled into a problem document.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.equivalents import Equivalents
from service.api.record import RECORD, RequestRecord
from service.api.recorder import Recorder, RequestIds
from service.api.rejection import Rejection
from service.api.shedding import TIMEOUT, LoadShedder
from service.api.state import ServiceState
from service.cancellation import DISCONNECT
from service.errors import NotReadyError

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
        self._ids = RequestIds()
        self._recorder = Recorder(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        method, path = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        request_id, length, timeout_s = self._read_headers(scope)
        client = scope.get("client")
        record = RequestRecord(request_id.decode(), path, client[0] if client else "")
        scope[RECORD] = record
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
            else:
                record.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            try:
                rejection = self._reject_early(scope, record, length, timeout_s)
                if rejection is not None:
                    route, record.code = rejection.route, rejection.code
                    await rejection.send(send_with_headers, request_id)
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
            self._recorder.record(route, method, status, time.perf_counter() - began, record)

    def _reject_early(
        self, scope: Scope, record: RequestRecord, length: int, timeout_s: float | None
    ) -> Rejection | None:
        """Decide by the request's head: its key, its client's limits, then the service's load."""
        gate = self.service.gate
        rejection = None if gate is None else gate.check(scope, record)
        if rejection is not None:
            self.service.telemetry.failures.labels(rejection.code).inc()
        elif scope["method"] == "POST":
            rejection = self._shedder.check(record.path, length, timeout_s)
        return rejection

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
            elif name == b"x-request-id" and not request_id:
                request_id = value
        return self._ids.choose(request_id), length, timeout_s
