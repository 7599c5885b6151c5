"""`GET /drift`: how the images that are served differ from the reference data."""

from fastapi import APIRouter, Request

from service.api.problems import problems
from service.api.state import service_of
from service.postprocessing.schemas import DriftResponse

router = APIRouter()


@router.get(
    "/drift",
    summary="Compare the last images with the reference",
    response_model=DriftResponse,
)
async def drift(request: Request) -> DriftResponse:
    """Population stability index of each quantity, over this process's last images."""
    return _report(request, None)


@router.get(
    "/models/{name}/drift",
    summary="The same for a model of your choice",
    response_model=DriftResponse,
    responses=problems(404),
)
async def drift_of(request: Request, name: str) -> DriftResponse:
    """As `GET /drift`, for one model."""
    return _report(request, name)


def _report(request: Request, name: str | None) -> DriftResponse:
    return service_of(request).models.find(name).drift.report()
