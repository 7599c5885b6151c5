"""`GET /livez`, `/readyz`, `/metrics`: for orchestrators and Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.api.problems import problems
from service.api.schemas import FailedModel, Health
from service.api.state import service_of
from service.errors import EngineStalledError, NotReadyError
from service.settings import STALL_TIMEOUT_S

router = APIRouter()


@router.get(
    "/livez",
    summary="Is the process alive?",
    description="503 means: restart the process.",
    response_model=Health,
    responses=problems(503),
)
async def livez(request: Request) -> Health:
    """Alive unless an engine is stalled."""
    service = service_of(request)
    if service.is_stalled:
        raise EngineStalledError(
            f"A run of the engine has lasted for over {STALL_TIMEOUT_S:g} s, or its "
            "thread has ended. Restart the service."
        )
    return Health(
        model=service.models.find().info,
        models=[classifier.info for classifier in service.models.all()],
        refused=[FailedModel()] * len(service.models.failed()),
    )


@router.get(
    "/readyz",
    summary="May requests be sent here?",
    description="503 means: send requests elsewhere.",
    response_model=Health,
    responses=problems(503),
)
async def readyz(request: Request) -> Health:
    """Ready from the successful load, golden answers included, until SIGTERM."""
    if service_of(request).draining:
        raise NotReadyError("The service is shutting down. Send requests elsewhere.")
    return await livez(request)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """All metrics in Prometheus' text format."""
    service = service_of(request)
    text = await service.telemetry.render(service.models)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
