"""For browsers: the page, its files, and Swagger UI.

All assets are served from here, and revalidated on every load (`no-cache` with an ETag). The
Content-Security-Policy allows no other host.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parents[2] / "static"
_NO_OTHER_TARGET = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    f"connect-src 'self'; {_NO_OTHER_TARGET}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    f"connect-src 'self'; {_NO_OTHER_TARGET}"
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
    """The files of a folder, with the page's headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Add the headers, to a file and to a 304 response."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


ASSETS = Assets(directory=STATIC)


@router.get("/")
async def page(request: Request) -> Response:
    """Show the three views: try it, architecture, model card."""
    asked: bytes = request.scope.get("raw_path", b"/")
    if not asked.endswith(b"/"):  # a prefix without its slash: relative addresses would be wrong
        name = asked.decode("latin-1").rpartition("/")[2]
        return Response(status_code=308, headers={"Location": f"{name}/"})
    return await ASSETS.get_response("index.html", request.scope)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show Swagger UI, without scripts from other hosts."""
    if request.scope.get("raw_path", b"").endswith(b"/"):  # its relative addresses would be wrong
        return Response(status_code=308, headers={"Location": "../docs"})
    response = await ASSETS.get_response("docs/index.html", request.scope)
    response.headers["Content-Security-Policy"] = DOCS_POLICY
    return response
