"""What crosses the wire: requests, answers, problems. Frozen, nothing undeclared."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model.architecture import Architecture
from model.manifest import Input, Metrics, ModelFile, Precision, Provenance
from model.preprocessing import Preprocessing
from model.summary import Section, Stage

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Schema(BaseModel):
    """The manners of everything on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JsonImages(Schema):
    """Pictures as text, for clients that speak nothing but JSON."""

    images: Annotated[list[str], Field(min_length=1)] = Field(
        description="Whole image files, each in base64."
    )


class ModelInfo(Schema):
    """Which model answered, and on what."""

    name: str = Field(examples=["fashion-mnist"])
    version: str = Field(examples=["1"])
    precision: Precision
    provider: Literal["cpu", "cuda"] = Field(description="What the engine really runs on.")


class Prediction(Schema):
    """One label and how likely the model holds it to be."""

    label: str = Field(examples=["Ankle boot"])
    index: int = Field(ge=0, description="Position in the model's `labels`.")
    probability: float = Field(ge=0, le=1, description="Calibrated softmax over all labels.")


class Result(Schema):
    """The answer for one picture."""

    predictions: list[Prediction] = Field(description="The likeliest first.")


class PredictResponse(Schema):
    """The answers for all pictures of a request, in the order in which they were sent."""

    model: ModelInfo
    results: list[Result]


class BatchTime(Schema):
    """What a run of one batch size took when the service started."""

    images: int
    ms: float


class Serving(Schema):
    """How the model is run here."""

    instances: int = Field(description="Runs side by side in this process.")
    threads: int = Field(description="In each run.")
    batches: list[BatchTime]


class ArchitectureResponse(Schema):
    """The network that is loaded: its parts, their shapes and costs, and where it came from."""

    model: ModelInfo
    architecture: Architecture
    labels: tuple[str, ...]
    input: Input
    preprocessing: Preprocessing
    parameters: int = Field(description="Of the network that was trained, norms included.")
    macs: int = Field(description="Multiply-adds for one picture.")
    stem: Section
    stages: tuple[Stage, ...]
    head: Section
    temperature: float
    files: dict[Precision, ModelFile]
    metrics: Metrics | None = Field(description="None: the weights were never measured.")
    provenance: Provenance
    serving: Serving


class RefusedModel(Schema):
    """A candidate that is not served."""

    folder: str
    reason: str


class Health(Schema):
    """The service lives, or is ready for requests; a problem says why it is not."""

    status: Literal["ok"] = "ok"
    model: ModelInfo = Field(description="The default model.")
    models: list[ModelInfo] = Field(description="All that are served, the default first.")
    refused: list[RefusedModel] = Field(description="Candidates that could not be loaded.")


class Problem(Schema):
    """Why a request was refused (RFC 9457)."""

    type: str = Field("about:blank")
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(description="What was seen, the rule, and the way out.")
    code: str = Field(description="Stable name of the problem.", examples=["invalid_image"])
    index: int | None = Field(None, description="Which picture of the request it was, from 0.")
