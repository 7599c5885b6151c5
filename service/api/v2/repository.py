"""`/v2`: what Triton adds to the protocol: configuration, statistics, the repository's index.

Load tools such as perf_analyzer ask for these. Loading and unloading is for keys of scope `admin`.
"""

import asyncio
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError

from model.validation import first_fault
from service.api.body import receive
from service.api.compression import read_codings, unpack
from service.api.direct import DirectRoute
from service.api.json_text import as_utf8
from service.api.model_routes import path_parameters
from service.api.problems import errors_v2
from service.api.record import record_of
from service.api.state import service_of
from service.api.v2.names import ModelAlias, all_aliases
from service.api.v2.routing import TAG, json_body, json_response, model_route, requested_alias
from service.api.v2.schemas import (
    BatchStats,
    Changed,
    Duration,
    IndexEntry,
    IndexRequest,
    InferenceStats,
    InputConfig,
    LoadRequest,
    ModelConfig,
    ModelStats,
    OutputConfig,
    Statistics,
)
from service.api.v2.tensors import Tensor
from service.errors import MalformedRequestError, NotReadyError, UnsupportedError
from service.observability.counters import Statistics as Counters

NEVER = Duration(count=0, ns=0)
MAX_BODY_BYTES = 65_536
DATA_TYPES = {"BYTES": "TYPE_STRING", "UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32"}
Entries = TypeAdapter(list[IndexEntry])
OF_A_MODEL = path_parameters("/{name}")
Body = TypeVar("Body", bound=BaseModel)

router = APIRouter(prefix="/v2", route_class=DirectRoute, tags=[TAG])


@router.get("/models/stats", summary="Counters of all models", response_model=Statistics)
async def all_stats(request: Request) -> Response:
    """Counters of every alias; the aliases of one artifact share them."""
    aliases = all_aliases(service_of(request).models)
    return json_response(Statistics(model_stats=[_stats(request, alias) for alias in aliases]))


@model_route(router, "GET", "/stats", summary="Counters of a model", answer=Statistics)
async def model_stats(request: Request) -> Response:
    """Counters since this process loaded the model."""
    return json_response(Statistics(model_stats=[_stats(request, requested_alias(request))]))


def _stats(request: Request, alias: ModelAlias) -> ModelStats:
    statistics = service_of(request).telemetry.statistics[alias.classifier]
    return report(statistics, alias.name, alias.version)


def report(counters: Counters, name: str, version: str) -> ModelStats:
    """Give all counters of a model, under the name that was asked for."""
    count = counters.requests
    stages = {
        "queue": counters.queue_s,
        "compute_input": counters.input_s,
        "compute_infer": counters.infer_s,
        "compute_output": counters.output_s,
    }
    return ModelStats(
        name=name,
        version=version,
        last_inference=counters.last_ms,
        inference_count=counters.images,
        execution_count=sum(tally.count for tally in counters.batches.values()),
        inference_stats=InferenceStats(
            success=_duration(count, sum(stages.values())),
            fail=_duration(counters.failures.count, counters.failures.seconds),
            cache_hit=NEVER,
            cache_miss=NEVER,
            **{stage: _duration(count, seconds) for stage, seconds in stages.items()},
        ),
        batch_stats=[
            BatchStats(
                batch_size=size,
                compute_input=_duration(tally.count, 0),  # not known by batch
                compute_infer=_duration(tally.count, tally.seconds),
                compute_output=_duration(tally.count, 0),
            )
            for size, tally in sorted(counters.batches.items())
        ],
    )


def _duration(count: int, seconds: float) -> Duration:
    """Convert to the protocol's form, in nanoseconds."""
    return Duration(count=count, ns=round(1e9 * seconds))


@model_route(
    router,
    "GET",
    "/config",
    summary="A model's configuration, as Triton has it",
    answer=ModelConfig,
)
async def model_config(request: Request) -> Response:
    """The part of Triton's model configuration that clients read."""
    alias = requested_alias(request)
    signature, models = alias.signature, service_of(request).models
    return json_response(
        ModelConfig(
            name=alias.name,
            max_batch_size=signature.max_images,
            version_policy=models.entry(alias.classifier.info.name).version_policy,
            input=[_input(signature.input)],
            output=[
                OutputConfig(
                    name=output.name,
                    data_type=DATA_TYPES[output.datatype],
                    dims=list(output.shape[1:]),
                )
                for output in signature.outputs
            ],
        )
    )


def _input(tensor: Tensor) -> InputConfig:
    return InputConfig(
        name=tensor.name,
        data_type=DATA_TYPES[tensor.datatype],
        format="FORMAT_NONE" if tensor.datatype == "BYTES" else "FORMAT_NHWC",
        dims=list(tensor.shape[1:]),
    )


@router.post(
    "/repository/index",
    summary="Every version, and whether it is served",
    response_model=list[IndexEntry],
    responses=errors_v2(400, 408, 413, 415),
    openapi_extra={"requestBody": json_body(IndexRequest)},
)
async def index(request: Request) -> Response:
    """List what is served and, to admins unless `ready` is set, what is not and why."""
    wanted = await _read(request, IndexRequest, '{"ready": true}')
    entries = [
        IndexEntry(name=alias.name, version=alias.version, state="READY", reason="")
        for alias in all_aliases(service_of(request).models)
    ]
    if not wanted.ready and record_of(request.scope).is_admin:
        entries += await _not_served(request, {(entry.name, entry.version) for entry in entries})
    return Response(Entries.dump_json(entries), media_type="application/json")


async def _not_served(request: Request, served: set[tuple[str, str]]) -> list[IndexEntry]:
    """List versions that failed to load, and those that are not selected; for admins."""
    service = service_of(request)
    reasons = {failed.folder: failed.reason for failed in service.models.failed()}
    for folder in await asyncio.to_thread(service.control.versions):
        name = folder.parent.name
        unloaded = service.models.entry(name).unloaded
        reasons.setdefault(folder, "unloaded" if unloaded else "not selected by version_policy")
    return [
        IndexEntry(name=name, version=version, state="UNAVAILABLE", reason=reason)
        for folder, reason in sorted(reasons.items())
        if (pair := (folder.parent.name, folder.name)) not in served
        for name, version in [pair]
    ]


@router.post(
    "/repository/models/{name}/load",
    summary="Load a model, or other versions of it; for keys of scope `admin`",
    response_model=Changed,
    responses=errors_v2(400, 404, 408, 409, 413, 415, 501, 503),
    openapi_extra={"requestBody": json_body(LoadRequest), "parameters": OF_A_MODEL},
)
async def load(request: Request) -> Response:
    """Answer when all workers serve what was asked for, or when nothing has changed."""
    name = _changeable(request)
    wanted = await _read(request, LoadRequest, '{"parameters": {"config": {...}}}')
    await service_of(request).control.load(name, wanted.parameters.config)
    return json_response(Changed(name=name, load=True))


@router.post(
    "/repository/models/{name}/unload",
    summary="Unload a model; for keys of scope `admin`",
    response_model=Changed,
    responses=errors_v2(404, 409, 501, 503),
    openapi_extra={"parameters": OF_A_MODEL},
)
async def unload(request: Request) -> Response:
    """Answer when no worker takes requests for the model; those in flight are still answered."""
    name = _changeable(request)
    await service_of(request).control.unload(name)
    return json_response(Changed(name=name, unload=True))


def _changeable(request: Request) -> str:
    """Return the model's name, if models can be loaded and unloaded now.

    Raises:
        UnsupportedError: Without an admin's key, or a repository.
        NotReadyError: While the service ends.
    """
    service, name = service_of(request), str(request.path_params["name"])
    root = service.settings.model_repository
    if not record_of(request.scope).is_admin or root is None:
        lacks = "RESNET_MODEL_REPOSITORY" if root is None else "a key of scope `admin`"
        raise UnsupportedError(
            f"Model '{name[:64]}' cannot be loaded or unloaded over HTTP without "
            f"{lacks}: models change only with the folder RESNET_MODEL_REPOSITORY and "
            "SIGHUP. See docs/v2.md."
        )
    if service.draining:
        raise NotReadyError("The service is shutting down. Load the model after the restart.")
    return name


async def _read(request: Request, kind: type[Body], form: str) -> Body:
    """Read a JSON body of this form, which clients may leave out.

    Raises:
        MalformedRequestError: If it is not as the protocol has it.
    """
    length = request.headers.get("content-length")
    if length in {None, "0"} and "transfer-encoding" not in request.headers:
        return kind()
    codings = read_codings(request.headers.getlist("content-encoding"))
    packed = await receive(request.receive, length, MAX_BODY_BYTES)
    body = as_utf8(await unpack(packed, codings, MAX_BODY_BYTES))
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fault = str(first_fault(error))[:500]
        raise MalformedRequestError(f"The body must be empty or {form}. {fault}") from error
