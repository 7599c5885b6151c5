"""What a person with a browser sees; every asset comes from here."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse

STATIC = Path(__file__).parents[1] / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> RedirectResponse:
    """Send people to the interactive description of the interface."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def docs() -> FileResponse:
    """Show Swagger UI, without scripts from other hosts."""
    return FileResponse(STATIC / "docs" / "index.html", headers={"Content-Security-Policy": POLICY})
