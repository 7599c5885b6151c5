"""What crosses the wire: requests, answers, problems. Frozen, nothing undeclared."""

from typing import Annotated, Any, Literal

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


class Sample(Schema):
    """A picture that came with the model, and the label that it is known to get."""

    path: str = Field(examples=["samples/0.png"], description="Relative to the page.")
    label: str


class Limits(Schema):
    """What a person who sends a picture has to keep to."""

    max_body_bytes: int
    max_pixels: int
    deadline_ms: int


class CardResponse(Schema):
    """What the page shows beside an answer: the manifest, and what can be asked of the model."""

    model: ModelInfo
    manifest: dict[str, Any] = Field(
        description="`manifest.json` without `summary` (`GET /architecture` has it) and `golden`."
    )
    samples: list[Sample]
    are_samples_pictures: bool = Field(
        description="False: the weights are random, and the samples are blots, not test pictures."
    )
    options: list[str] = Field(description="What `POST /predict` takes behind the question mark.")
    routes: list[str] = Field(description="What this service answers, without asking in vain.")
    limits: Limits


class Health(Schema):
    """The service lives, or is ready for requests; a problem says why it is not."""

    status: Literal["ok"] = "ok"
    model: ModelInfo


class Problem(Schema):
    """Why a request was refused (RFC 9457)."""

    type: str = Field("about:blank")
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(description="What was seen, the rule, and the way out.")
    code: str = Field(description="Stable name of the problem.", examples=["invalid_image"])
    index: int | None = Field(None, description="Which picture of the request it was, from 0.")
