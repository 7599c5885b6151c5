"""Request and response bodies under `/v2`, as the Open Inference Protocol defines them.

Unknown fields of requests are ignored, as Triton does: clients of this protocol add fields of
their own. Responses contain exactly the declared fields.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt
from pydantic_core import from_json

from model.artifact.manifest import Precision
from service.postprocessing.schemas import Schema
from service.registry.versions import Selection, VersionPolicy

Parameters = dict[str, Any]
Name = Annotated[str, Field(max_length=1024)]
NoneIsEmpty = Annotated[
    Parameters,
    Field(max_length=100),
    BeforeValidator(lambda given: {} if given is None else given),
]
"""Some clients write `null` for parameters that they leave out."""
Dimension = Annotated[StrictInt, Field(ge=0, le=2**40)]


class RequestSchema(BaseModel):
    """Configuration of what clients send: frozen, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RequestTensor(RequestSchema):
    """One input: its numbers in `data`, or in `binary_data_size` bytes after the JSON."""

    name: Name
    datatype: Name
    shape: list[Dimension] = Field(min_length=1, max_length=8)
    parameters: NoneIsEmpty = Field(default={})
    data: list[Any] | None = Field(None, description="Nested or flat, in row-major order.")


class RequestOutput(RequestSchema):
    """One output that the client asks for, and in which form."""

    name: Name
    parameters: NoneIsEmpty = Field(
        default={}, description="`binary_data` (bool), `classification` (number of labels)."
    )


class InferRequest(RequestSchema):
    """An inference request; with the binary extension, the part of it that is JSON."""

    id: Annotated[str, BeforeValidator(lambda given: given if given is not None else "")] = Field(
        "", max_length=1024, description="Returned in the response."
    )
    parameters: NoneIsEmpty = Field(
        default={}, description="`timeout` in microseconds; `binary_data_output` (bool)."
    )
    inputs: list[RequestTensor] = Field(min_length=1, max_length=8)
    outputs: Annotated[
        list[RequestOutput], BeforeValidator(lambda given: [] if given is None else given)
    ] = Field(default=[], max_length=8)


class ResponseTensor(Schema):
    """One output: `data`, or `parameters.binary_data_size` bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Any] | None = Field(None, description="Flat, row by row.")


class Ran(Schema):
    """The provider and precision that ran, which may differ from the settings after a fallback.

    The protocol leaves the parameters of a response to the server.
    """

    provider: Literal["cpu", "cuda"]
    precision: Precision


class InferResponse(Schema):
    """The response to an inference request."""

    model_name: str
    model_version: str
    id: str
    parameters: Ran
    outputs: list[ResponseTensor]


class ErrorV2(Schema):
    """Why a request was refused."""

    error: str


class ServerMetadata(Schema):
    """The server's name, its version and the protocol extensions that it supports."""

    name: str
    version: str
    extensions: list[str]


class Live(Schema):
    """The process is alive."""

    live: bool = True


class Ready(Live):
    """The process accepts requests."""

    ready: bool = True


class ModelReady(Schema):
    """The model accepts requests."""

    name: str
    ready: bool = True


class TensorMetadata(Schema):
    """One input or output; -1 means any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Schema):
    """Inputs and outputs of a model."""

    name: str
    versions: list[str]
    platform: str = "onnxruntime_onnx"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelNames(Schema):
    """All models that are served."""

    models: list[str]


class InputConfig(Schema):
    """An input as Triton's configuration has it: without the batch dimension."""

    name: str
    data_type: str
    format: Literal["FORMAT_NONE", "FORMAT_NHWC"]
    dims: list[int]


class OutputConfig(Schema):
    """An output as Triton's configuration has it."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(Schema):
    """The part of Triton's model configuration that clients read."""

    name: str
    platform: str = "onnxruntime_onnx"
    backend: str = "onnxruntime"
    max_batch_size: int = Field(description="Images in one request.")
    input: list[InputConfig]
    output: list[OutputConfig]
    dynamic_batching: dict[str, Any] = Field(default={})
    version_policy: VersionPolicy


class IndexEntry(Schema):
    """A version of a model, and whether it is served."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class IndexRequest(RequestSchema):
    """Which entries to list."""

    ready: StrictBool = Field(False, description="Only those that are served.")


def _unpacked(config: Any) -> Any:
    """Read the JSON that Triton's clients send as a string."""
    return from_json(config) if isinstance(config, str) else config


class LoadParameters(Schema):
    """Of a load; files cannot be sent."""

    config: Annotated[Selection | None, BeforeValidator(_unpacked)] = Field(
        None,
        description="An object, or a string with its JSON: `version_policy` as in Triton, "
        "`default_version`, `aliases`. Without it the entry stays.",
    )


class LoadRequest(RequestSchema):
    """Which versions of a model to load."""

    parameters: LoadParameters = LoadParameters()


class Changed(Schema):
    """A model that was loaded or unloaded, as KServe has it."""

    name: str
    load: bool | None = None
    unload: bool | None = None


class Duration(Schema):
    """A count of events and their total time in nanoseconds."""

    count: int
    ns: int


class InferenceStats(Schema):
    """Where the time of requests went."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStats(Schema):
    """The engine's runs of one batch size."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStats(Schema):
    """Counters of one model since this process loaded it."""

    name: str
    version: str
    last_inference: int = Field(description="Milliseconds since 1970; 0 for never.")
    inference_count: int = Field(description="Images answered.")
    execution_count: int = Field(description="Runs of the engine.")
    inference_stats: InferenceStats
    batch_stats: list[BatchStats]
    memory_usage: list[Any] = Field(default=[])
    response_stats: dict[str, Any] = Field(default={})


class Statistics(Schema):
    """Counters of some models."""

    model_stats: list[ModelStats]
