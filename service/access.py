"""Around every request: an id, a line in the log, the counters, headers of every answer.

The outer door, too: what nobody foresaw becomes an answer here.
"""

import re
import time
import uuid
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry import Telemetry, log

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "POST"})
"""Those that our routes answer to; a client's own inventions share a label."""
QUIET_ROUTES = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at debug level only."""

AnswerError = Callable[[Request, Exception], Awaitable[Response]]


class Access:
    """ASGI middleware, outside of everything but the server.

    Args:
        app: What answers.
        telemetry: What counts.
        answer_error: What answers when `app` raised before it answered.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, answer_error: AnswerError) -> None:
        """Remember them."""
        self.app = app
        self.telemetry = telemetry
        self.answer_error = answer_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        status, has_begun = 500, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                if scope["app"].state.draining:
                    headers["Connection"] = "close"
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            if has_begun:  # half an answer cannot be taken back
                raise
            response = await self.answer_error(Request(scope), error)
            await response(scope, receive, send_with_headers)
        finally:
            self._note(scope, status, request_id, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, request_id: str, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.telemetry.requests.labels(route, method, str(status)).inc()
        self.telemetry.request_seconds.labels(route).observe(seconds)
        fields = {
            "request_id": request_id,
            "method": scope["method"][:16],
            "path": scope["path"][:200],
            "status": status,
            "ms": round(1000 * seconds, 2),
        }
        (log.debug if route in QUIET_ROUTES else log.info)("request", extra={"fields": fields})


def _request_id(given: str | None) -> str:
    """Take the client's id if it is short and plain, else make one."""
    return given if given and REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
