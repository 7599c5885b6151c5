"""Assemble the service: model, routes, the one error handler, start and end.

`create_app` returns only when the model is loaded and its golden answers are checked, so an
application that listens is ready.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from service.api.access.cors import Cors, cors_options
from service.api.access.gate import read_gate
from service.api.access.proxies import ProxyHeaders
from service.api.budget import BodyBudget
from service.api.failures import as_service_error, report
from service.api.head_check import HeadCheck
from service.api.middleware import RequestMiddleware
from service.api.openapi import complete_document
from service.api.problems import error_response_for
from service.api.record import record_of
from service.api.recorder import QUIET_ROUTES
from service.api.routes import architecture, card, drift, health, page, predict
from service.api.routes import models as model_list
from service.api.state import OtherServer, ServiceState, service_of
from service.api.v2 import infer as inference_v2
from service.api.v2 import repository as repository_v2
from service.errors import (
    InvalidParameterError,
    MalformedRequestError,
    MethodNotAllowedError,
    NotFoundError,
    ServiceError,
    StartError,
)
from service.log import log, set_up_logging
from service.memory import freeze_gc, share_one_heap
from service.observability.metrics import Telemetry
from service.observability.tracing import Tracing, start_tracing
from service.registry.control import ModelControl
from service.registry.peers import Peers
from service.registry.registry import ModelRegistry
from service.settings import Settings, read_settings


def create_app(settings: Settings, tracing: Tracing | None = None) -> FastAPI:
    """Load the models, and make the application that serves them.

    Args:
        settings: Frozen.
        tracing: Writes spans; None: no tracing.

    Raises:
        StartError: If the default model cannot be served; the message is one line.
    """
    grpc_server = load_grpc(settings)
    share_one_heap()
    telemetry = Telemetry(tracing)
    peers = Peers()
    models = ModelRegistry(
        settings,
        on_change=telemetry.on_models_changed,
        on_reload=telemetry.record_reload,
        observers=telemetry.observers,
    )
    budget = BodyBudget(
        settings.max_buffered_bytes, settings.max_body_bytes, settings.min_receive_bytes_s
    )
    control = ModelControl(settings, models, peers)
    service = ServiceState(settings, models, telemetry, budget, control, read_gate(settings))
    if grpc_server is not None:
        service.grpc = grpc_server(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.start()
        if service.grpc is not None:
            await service.grpc.start()
        for classifier in models.all():
            log.info("ready", extra={"fields": classifier.info.model_dump()})
        yield
        await service.drain(settings.deadline_s)
        await models.stop()
        telemetry.flush()  # other workers go on reading what this one counted
        if tracing is not None:
            await asyncio.to_thread(tracing.stop)

    app = FastAPI(
        title="resnet-service",
        version=version("resnet-service"),
        description="Classify images with a residual network.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page loads scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # `Equivalents` answers
        servers=[{"url": "."}],  # as seen from /openapi.json, also behind a prefix
        telemetry=_telemetry_of_fastapi(tracing),
    )
    app.state.service = service
    app.router.routes.extend(predict.router.routes)  # an included router matches twice
    for module in (
        architecture,
        card,
        drift,
        health,
        model_list,
        repository_v2,
        inference_v2,
        page,
    ):
        app.include_router(module.router)
    app.mount("/static", page.ASSETS, name="static")
    head = HeadCheck(service)
    app.add_middleware(
        RequestMiddleware,
        service=service,
        head=head,
        handle_error=handle_error,
        routes=predict.router.routes if tracing is None else (),  # FastAPI makes the spans
    )
    service.refuse = head.refuse if _is_asked_first(settings, tracing) else None
    if settings.cors_origins:
        app.add_middleware(Cors, **cors_options(settings.cors_origins))
    if settings.trusted_proxies or settings.root_path:
        app.add_middleware(
            ProxyHeaders, proxies=settings.trusted_proxies, root_path=settings.root_path
        )
    for kind in (ServiceError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle_error)
    complete_document(app, settings)
    return app


def load_grpc(settings: Settings) -> Callable[[ServiceState], OtherServer] | None:
    """Import what serves gRPC, if the settings ask for it.

    Raises:
        StartError: If the extra `grpc` is not installed.
    """
    if not settings.grpc_port:
        return None
    try:
        from service.api.grpc.server import GrpcServer  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise StartError(
            f"RESNET_GRPC_PORT (={settings.grpc_port}) needs {error.name}, which is "
            "not installed. Install the extra `grpc`, or unset it."
        ) from error
    return GrpcServer


def _is_asked_first(settings: Settings, tracing: Tracing | None) -> bool:
    """Whether nothing sees a request, or writes headers, before `RequestMiddleware` does."""
    others = (settings.cors_origins, settings.trusted_proxies, settings.root_path)
    return tracing is None and not any(others)


def _telemetry_of_fastapi(tracing: Tracing | None) -> TelemetryConfig:
    """Let FastAPI make spans of requests, except those of machines, and no other telemetry."""
    return {
        "tracing": tracing is not None,
        "tracer_provider": None if tracing is None else tracing.provider,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": lambda scope: scope["path"] in QUIET_ROUTES,
    }


async def handle_error(request: Request, error: Exception) -> Response:
    """Turn an error into a problem document, and count it by its code."""
    refusal, record = refusal_of(request, error), record_of(request.scope)
    report(error, refusal, record, service_of(request).telemetry)
    response = error_response_for(record.path, refusal, record.request_id)
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    if isinstance(refusal, MethodNotAllowedError):  # static files do not list the allowed methods
        names = set(response.headers.get("Allow", "GET").split(", "))
        names |= {"HEAD"} if "GET" in names else set()
        response.headers["Allow"] = ", ".join(sorted(names))
    return response


def refusal_of(request: Request, error: Exception) -> ServiceError:
    """Return the `ServiceError` for any exception: of the service, the framework, or a bug."""
    match error:
        case RequestValidationError():
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))[:100]
            return InvalidParameterError(f"{where}: {first['msg']}. See /docs for the bounds.")
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return NotFoundError(f"There is no {request.url.path[:100]}. See /docs for the routes.")
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            return MethodNotAllowedError(
                f"{request.url.path[:100]} does not accept {request.method[:16]}. See "
                "/docs for the methods."
            )
        case HTTPException(status_code=status) if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return MalformedRequestError(f"{error.detail}.")
        case _:
            return as_service_error(error)


def worker_app() -> ASGIApp:
    """Make the application of one worker; called in its process.

    Raises:
        StartError: If the default model cannot be served: `service.server.workers` ends the worker,
            and with it the supervisor.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # asks for a reload; the models are loaded now
    settings = read_settings()
    set_up_logging(settings.log_level, settings.log_format)
    app = create_app(settings, start_tracing())
    freeze_gc()
    return app
