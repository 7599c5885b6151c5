"""Which scripts of other origins may ask, and which headers they may send and read."""

from collections.abc import Sequence
from typing import Any

from service.api.shedding import TIMEOUT_HEADER

PREFLIGHT_S = 600
"""For so long a browser need not ask again."""


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
