"""`GET /drift`: does the traffic still look like what the network was measured on?"""

from fastapi import APIRouter, Request

from service.schemas import DriftResponse

router = APIRouter()


@router.get(
    "/drift",
    summary="Hold the last pictures against the reference",
    response_model=DriftResponse,
)
async def drift(request: Request) -> DriftResponse:
    """Population stability index of each quantity, over this process's last pictures."""
    report: DriftResponse = request.app.state.models.find().drift.report()
    return report
