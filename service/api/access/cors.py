"""Which scripts of other origins may ask, and which headers they may send and read."""

from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from service.api.shedding import TIMEOUT_HEADER
from service.fault import FAULT

PREFLIGHT_S = 600
"""For so long a browser need not ask again."""


class Cors(CORSMiddleware):
    """Starlette's; but a preflight of another origin is a request like any other, for a key."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer preflights of allowed origins, and pass all else on."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            origin = Headers(scope=scope).get("origin", "")
            if FAULT in scope or not self.is_allowed_origin(origin):
                await self.app(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def cors_options(origins: Sequence[str]) -> dict[str, Any]:
    """Return the options of Starlette's CORS middleware; cookies are never taken.

    Args:
        origins: Such as `https://example.com`; `*` for all.
    """
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "HEAD", "POST"],
        "allow_headers": [
            "Authorization",
            "Content-Type",
            "Inference-Header-Content-Length",
            "X-API-Key",
            "X-Request-Id",
            TIMEOUT_HEADER,
        ],
        "expose_headers": [
            "Inference-Header-Content-Length",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "Server-Timing",
            "X-Request-Id",
        ],
        "max_age": PREFLIGHT_S,
    }
