"""What a person with a browser sees: the page, its files, and Swagger UI.

Every asset comes from here, is asked about again on every load (`no-cache` with an ETag),
and arrives under a Content-Security-Policy that knows no other host.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parents[2] / "static"
_NOWHERE_ELSE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    f"connect-src 'self'; {_NOWHERE_ELSE}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    f"connect-src 'self'; {_NOWHERE_ELSE}"
)
"""Swagger UI draws its icons from `data:` and does not work under Trusted Types."""
HEADERS = MappingProxyType(
    {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    }
)
router = APIRouter(include_in_schema=False)


class Assets(StaticFiles):
    """Files as they lie in a folder, with the manners of this page around each."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Add the headers, to a file and to its 304 alike."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


ASSETS = Assets(directory=STATIC)


@router.get("/")
async def page(request: Request) -> Response:
    """Show the three views: try it, architecture, model card."""
    return await ASSETS.get_response("index.html", request.scope)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show Swagger UI, without scripts from other hosts."""
    if request.scope.get("raw_path", b"").endswith(b"/"):  # its relative addresses would miss
        return Response(status_code=308, headers={"Location": "../docs"})
    response = await ASSETS.get_response("docs/index.html", request.scope)
    response.headers["Content-Security-Policy"] = DOCS_POLICY
    return response
