"""A route class that calls its endpoint without FastAPI's dependencies and encoders.

These take about a quarter of a request's time without a model (docs/decisions/0006). A direct route
keeps the path, the schemas in OpenAPI and the error handlers.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """Calls its endpoint with the request alone; other parameters are for OpenAPI."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = self._call_endpoint

    def get_route_handler(self) -> Endpoint:
        """Return the endpoint itself, in place of FastAPI's wrapper."""
        endpoint: Endpoint = self.endpoint
        return endpoint

    async def _call_endpoint(self, scope: Scope, receive: Receive, send: Send) -> None:
        response: Response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
