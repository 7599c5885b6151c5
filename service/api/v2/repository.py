"""`/v2`: what Triton adds to the protocol: configuration, statistics, the repository's index.

Load tools such as perf_analyzer ask for these. Models are loaded and unloaded by SIGHUP
and by the watched folder, never over this protocol.
"""

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from service.api.body import receive
from service.api.compression import read_codings, unpack
from service.api.direct import DirectRoute
from service.api.json_text import as_utf8
from service.api.problems import errors_v2
from service.api.state import service_of
from service.api.v2.names import ModelAlias, all_aliases
from service.api.v2.routing import TAG, json_body, json_response, model_route, requested_alias
from service.api.v2.schemas import (
    BatchStats,
    Duration,
    IndexEntry,
    IndexRequest,
    InferenceStats,
    InputConfig,
    ModelConfig,
    ModelStats,
    OutputConfig,
    Statistics,
)
from service.api.v2.tensors import Tensor
from service.errors import MalformedRequestError, UnsupportedError
from service.observability.counters import Statistics as Counters
from service.registry.registry import ModelRegistry

NEVER = Duration(count=0, ns=0)
MAX_INDEX_BYTES = 65_536
DATA_TYPES = {"BYTES": "TYPE_STRING", "UINT8": "TYPE_UINT8", "FP32": "TYPE_FP32"}
Entries = TypeAdapter(list[IndexEntry])

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


@model_route(router, "GET", "/config", summary="A model as Triton has it", answer=ModelConfig)
async def model_config(request: Request) -> Response:
    """The part of Triton's model configuration that clients read."""
    alias = requested_alias(request)
    signature = alias.signature
    return json_response(
        ModelConfig(
            name=alias.name,
            max_batch_size=signature.max_images,
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
    """List what is served and, unless `ready` is set, what failed to load and why."""
    wanted = await _read_index_request(request)
    models = service_of(request).models
    entries = [
        IndexEntry(name=alias.name, version=alias.version, state="READY", reason="")
        for alias in all_aliases(models)
    ]
    if not wanted.ready:
        entries += _failed_entries(models, {(entry.name, entry.version) for entry in entries})
    return Response(Entries.dump_json(entries), media_type="application/json")


async def _read_index_request(request: Request) -> IndexRequest:
    """Read the body, which clients may leave out."""
    length = request.headers.get("content-length")
    if length in {None, "0"} and "transfer-encoding" not in request.headers:
        return IndexRequest()
    codings = read_codings(request.headers.getlist("content-encoding"))
    packed = await receive(request.receive, length, MAX_INDEX_BYTES)
    body = as_utf8(await unpack(packed, codings, MAX_INDEX_BYTES))
    try:
        return IndexRequest.model_validate_json(body)
    except ValidationError as error:
        raise MalformedRequestError('The body must be empty or {"ready": true}.') from error


def _failed_entries(models: ModelRegistry, served: set[tuple[str, str]]) -> list[IndexEntry]:
    """List candidates that failed to load, unless an older state of them is served."""
    return [
        IndexEntry(name=name, version=version, state="UNAVAILABLE", reason=failed.public_reason)
        for failed in models.failed()
        if (pair := (failed.folder.parent.name, failed.folder.name)) not in served
        for name, version in [pair]
    ]


@router.post("/repository/models/{name}/load", summary="Not supported", responses=errors_v2(501))
@router.post("/repository/models/{name}/unload", summary="Not supported", responses=errors_v2(501))
async def control(request: Request) -> Response:
    """Refuse: which models are served is configured where the service runs.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(
        f"Model '{request.path_params['name'][:64]}' cannot be loaded or unloaded over HTTP: the "
        "service follows the folder RESNET_MODEL_REPOSITORY and SIGHUP."
    )
