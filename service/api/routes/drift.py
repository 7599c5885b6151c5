"""`GET /drift`: how the images that are served differ from the reference data."""

from fastapi import APIRouter, Request

from service.api.problems import problems
from service.api.state import OF_A_MODEL, classifier_of
from service.postprocessing.schemas import DriftResponse

router = APIRouter()


@router.get(
    "/models/{name}/drift",
    summary="The same for a model of your choice",
    response_model=DriftResponse,
    responses=problems(404),
    openapi_extra=OF_A_MODEL,
)
@router.get(
    "/drift",
    summary="Compare the last images with the reference",
    response_model=DriftResponse,
)
async def drift(request: Request) -> DriftResponse:
    """Population stability index of each quantity, over this process's last images."""
    return classifier_of(request).drift.report()
