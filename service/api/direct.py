"""A route class that calls its endpoint without FastAPI's dependencies and encoders.

These take about a quarter of a request's time without a model (docs/decisions/0006). A direct route
keeps the path, the schemas in OpenAPI and the error handlers.
"""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Coroutine[Any, Any, ASGIApp]]
ERROR = "resnet.error"
"""Where ASGI's scope has an error that `DirectRoute.app` raises in place of a response."""


class JsonResponse(NamedTuple):
    """A response with status 200 whose JSON is written already.

    Attributes:
        body: The JSON.
        timing: Server-Timing.
    """

    body: bytes
    timing: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send it."""
        headers = [
            (b"server-timing", self.timing.encode()),
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class DirectRoute(APIRoute):
    """Calls its endpoint with the request alone; other parameters are for OpenAPI.

    `service.api.middleware` calls the endpoint itself where the path has no parameters. If that
    raises, the error is raised once more by `app`, inside of the application's error handlers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = self._answer_or_raise

    def get_route_handler(self) -> Endpoint:  # type: ignore[override]
        """Return the endpoint itself, in place of FastAPI's wrapper."""
        endpoint: Endpoint = self.endpoint
        return endpoint

    async def _answer_or_raise(self, scope: Scope, receive: Receive, send: Send) -> None:
        if ERROR in scope:
            raise scope.pop(ERROR)
        response: ASGIApp = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
