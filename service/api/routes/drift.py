"""`GET /drift`: how the images that are served differ from the reference data."""

from fastapi import APIRouter, Request

from service.api.model_routes import model_route
from service.api.state import classifier_of
from service.postprocessing.schemas import DriftResponse

router = APIRouter()


@model_route(router, "GET", "/drift", summary="Compare the last images with the validation split")
async def drift(request: Request) -> DriftResponse:
    """Population stability index of each quantity, over this process's last images."""
    return classifier_of(request).drift.report()
