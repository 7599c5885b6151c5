"""What crosses the wire: requests, answers, problems. Frozen, nothing undeclared.

What every answer holds many of, predictions and results, are dicts with declared keys: to
make models of them would cost a twentieth of a request to a small network.
"""

from typing import (
    Annotated,
    Any,
    Literal,  # pydantic asks for these before 3.12
)

from pydantic import Field

from model.architecture.layers import Section, Stage
from model.architecture.spec import Architecture
from model.artifact.manifest import Input, Metrics, ModelFile, Precision, Provenance
from model.artifact.trust import Calibration, OodDetector
from model.preprocessing import Preprocessing
from service.postprocessing.schemas import ModelInfo, Result, Schema

PROBLEM_MEDIA_TYPE = "application/problem+json"


class JsonImages(Schema):
    """Pictures as text, for clients that speak nothing but JSON."""

    images: Annotated[list[str], Field(min_length=1, fail_fast=True)] = Field(
        description="Whole image files, each in base64."
    )


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
    temperature: float | None
    files: dict[Precision, ModelFile]
    metrics: Metrics | None = Field(description="None: the weights were never measured.")
    calibration: Calibration | None
    refusal: OodDetector | None
    provenance: Provenance
    serving: Serving


class RefusedModel(Schema):
    """A candidate that is not served."""

    folder: str
    reason: str


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
