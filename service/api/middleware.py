"""Around every request: its id, load shedding, a log line, metrics, and common headers.

Also the last resort: turns an exception that nothing else handled into a problem document.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.direct import ERROR, DirectRoute
from service.api.equivalents import Equivalents
from service.api.head_check import HeadCheck
from service.api.record import RECORD, RequestRecord
from service.api.rejection import NOSNIFF
from service.api.state import SERVICE, ServiceState
from service.cancellation import DISCONNECT
from service.errors import NotReadyError

CANCELLED = "The service ended before it answered the request. Send it elsewhere."
"""At the end of the drain timeout the server cancels the remaining requests."""
CLOSE = (b"connection", b"close")

HandleError = Callable[[Request, Exception], Awaitable[Response]]


class RequestMiddleware:
    """ASGI middleware, outside of the routes and of their error handlers.

    Args:
        app: The routes.
        service: Of the application.
        handle_error: Makes the response if `app` raises before it responds.
        routes: Routes of POST requests; those that are direct, with a fixed path, are called
            without the router and the middlewares in between (docs/decisions/0074).
        head: Checks the heads of requests; None: one of its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: ServiceState,
        handle_error: HandleError,
        routes: Iterable[BaseRoute] = (),
        head: HeadCheck | None = None,
    ) -> None:
        self.app = app
        direct = [route for route in routes if isinstance(route, DirectRoute)]
        self._direct = {route.path: route for route in direct if not route.param_convertors}
        self.service = service
        self._equivalents = Equivalents(app)
        self._head = head or HeadCheck(service)
        self._handle_error = handle_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        record = scope.get(RECORD) or self._head.begin(scope)
        scope[SERVICE] = self.service
        request_id = record.request_id.encode()
        route = "none"
        refusal: Response | None = None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
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
                rejection = self._head.check(scope, record)
                if rejection is not None:
                    route, record.code = rejection.route, rejection.code
                    await rejection.send(send_with_headers, request_id)
                    return
                await self._pass_on(scope, receive, send_with_headers, record)
            except (Exception, asyncio.CancelledError) as error:
                if record.status:  # the response has begun and cannot be replaced
                    raise
                refusal = await self._error_response(scope, error)
            if refusal is not None:  # sent after the error is freed: its frames keep the body
                await refusal(scope, receive, send_with_headers)
        finally:
            scope.pop(DISCONNECT, None)  # an idle connection keeps the scope
            if record.usage is not None:
                record.end()
            route = getattr(scope.get("route"), "path", route)
            seconds = time.perf_counter() - began
            status = record.status or 500
            self._head.recorder.record(route, scope["method"], status, seconds, record)

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, record: RequestRecord
    ) -> None:
        """Call a direct route, or the application with all of its routes."""
        method, path = scope["method"], record.path
        if method == "POST" and (route := self._direct.get(path)) is not None:
            scope["route"] = route
            try:
                response = await route.endpoint(Request(scope, receive, send))
                await response(scope, receive, send)
                return
            except Exception as error:
                if record.status:
                    raise
                scope[ERROR] = error
        app = self._equivalents if method == "HEAD" or path[-1:] == "/" else self.app
        await app(scope, receive, send)

    async def _error_response(
        self, scope: Scope, error: Exception | asyncio.CancelledError
    ) -> Response:
        if isinstance(error, asyncio.CancelledError):
            error = NotReadyError(CANCELLED)
        return await self._handle_error(Request(scope), error)
