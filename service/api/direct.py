"""A route class that leaves out what a hot route does not need.

FastAPI solves dependencies, builds models and runs the answer through its encoder: about
a quarter of what a request costs without a model (docs/decisions/0006). A direct route keeps the
path, the schemas in OpenAPI and the error handlers, and passes the request on as it is.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """Calls its endpoint with the request alone; the signature's other parts are for OpenAPI."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = self._call_endpoint

    def get_route_handler(self) -> Endpoint:
        """Give the endpoint itself, where FastAPI would give its machinery around it."""
        endpoint: Endpoint = self.endpoint
        return endpoint

    async def _call_endpoint(self, scope: Scope, receive: Receive, send: Send) -> None:
        response: Response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
