"""A route class that leaves out what a hot route does not need.

FastAPI solves dependencies, builds models and runs the answer through its encoder: about
a quarter of what a request costs without a model (docs/decisions/0006). A lean route keeps the
path, the schemas in OpenAPI and the error handler, and hands the request over as it is.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class LeanRoute(APIRoute):
    """Calls its endpoint with the request alone; the signature's other parts are for OpenAPI."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the endpoint itself, where FastAPI would give its machinery around it."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint
