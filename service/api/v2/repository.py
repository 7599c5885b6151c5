"""`/v2`: what Triton adds to the protocol: configuration, statistics, the repository's index.

Load tools such as perf_analyzer ask for these. ModelRegistry come and go by SIGHUP and by the
watched folder, never over this protocol.
"""

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from service.api.body import receive
from service.api.compression import read_codings, unpack
from service.api.direct import DirectRoute
from service.api.json_text import as_utf8
from service.api.problems import errors_v2
from service.api.state import service_of
from service.api.v2.names import View, all_views
from service.api.v2.routing import TAG, json_body, json_response, model_route, view_of
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
    """Every model under every name; the names of one artifact share its counters."""
    views = all_views(service_of(request).models)
    return json_response(Statistics(model_stats=[_stats(request, view) for view in views]))


@model_route(router, "GET", "/stats", summary="Counters of a model", answer=Statistics)
async def model_stats(request: Request) -> Response:
    """Counters since this process loaded the model."""
    return json_response(Statistics(model_stats=[_stats(request, view_of(request))]))


def _stats(request: Request, view: View) -> ModelStats:
    statistics = service_of(request).telemetry.statistics[view.classifier]
    return report(statistics, view.name, view.version)


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
    """Give it as the protocol has it, in nanoseconds."""
    return Duration(count=count, ns=round(1e9 * seconds))


@model_route(router, "GET", "/config", summary="A model as Triton has it", answer=ModelConfig)
async def model_config(request: Request) -> Response:
    """The part of Triton's model configuration that clients read."""
    view = view_of(request)
    border = view.border
    return json_response(
        ModelConfig(
            name=view.name,
            max_batch_size=border.max_images,
            input=[_input(border.input)],
            output=[
                OutputConfig(
                    name=output.name,
                    data_type=DATA_TYPES[output.datatype],
                    dims=list(output.shape[1:]),
                )
                for output in border.outputs
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
    """List what is served and, unless only that is wanted, what was refused and why."""
    asked = await _read_index_request(request)
    models = service_of(request).models
    entries = [
        IndexEntry(name=view.name, version=view.version, state="READY", reason="")
        for view in all_views(models)
    ]
    if not asked.ready:
        entries += _refused(models, {(entry.name, entry.version) for entry in entries})
    return Response(Entries.dump_json(entries), media_type="application/json")


async def _read_index_request(request: Request) -> IndexRequest:
    """Read the body, if there is one: clients leave it out."""
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


def _refused(models: ModelRegistry, served: set[tuple[str, str]]) -> list[IndexEntry]:
    """List candidates that could not be loaded, where no older state of them is served."""
    return [
        IndexEntry(name=name, version=version, state="UNAVAILABLE", reason=failed.public_reason)
        for failed in models.failed()
        if (pair := (failed.folder.parent.name, failed.folder.name)) not in served
        for name, version in [pair]
    ]


@router.post("/repository/models/{name}/load", summary="Not supported", responses=errors_v2(501))
@router.post("/repository/models/{name}/unload", summary="Not supported", responses=errors_v2(501))
async def control(request: Request) -> Response:
    """Refuse: what is served is decided where the service runs.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(
        f"Model '{request.path_params['name'][:64]}' cannot be loaded or unloaded over HTTP: the "
        "service follows the folder RESNET_MODEL_REPOSITORY and SIGHUP."
    )
