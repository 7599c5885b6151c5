"""A route class that leaves out what a hot route does not need.

FastAPI solves dependencies, builds models and runs the answer through its encoder: about
a quarter of what a request costs without a model (docs/decisions/0006). A lean route keeps the
path, the schemas in OpenAPI and the error handler, and hands the request over as it is.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class LeanRoute(APIRoute):
    """Calls its endpoint with the request alone; the signature's other parts are for OpenAPI."""

    def __init__(self, *given: Any, **more: Any) -> None:
        """Take what `APIRoute` takes, and put a plain application in the place of its own."""
        super().__init__(*given, **more)
        self.app = self.answer

    def get_route_handler(self) -> Endpoint:
        """Give the endpoint itself, where FastAPI would give its machinery around it."""
        endpoint: Endpoint = self.endpoint
        return endpoint

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application; what the endpoint raises goes up."""
        response: Response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def by_path(routes: Iterable[BaseRoute]) -> Mapping[tuple[str, str], LeanRoute]:
    """Find the lean routes whose path is fixed: (method, path) -> route."""
    return {
        (method, route.path): route
        for route in routes
        if isinstance(route, LeanRoute) and "{" not in route.path
        for method in route.methods or ()
    }
