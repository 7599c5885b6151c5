"""Schemas of requests, responses and problems; frozen, without undeclared fields.

Predictions and results, of which a response has many, are dicts with declared keys: models would
cost a twentieth of a request to a small network.
"""

from datetime import datetime
from typing import (
    Annotated,
    Any,
    Literal,  # pydantic asks for these before 3.12
)

from pydantic import Field

from model.architecture.layers import Section, Stage
from model.architecture.spec import Architecture
from model.artifact.manifest import Input, Metrics, ModelFile, Precision
from model.artifact.provenance import Provenance
from model.artifact.trust import Calibration, OodDetector
from model.preprocessing import Preprocessing
from service.postprocessing.schemas import ModelInfo, Result, Schema

PROBLEM_MEDIA_TYPE = "application/problem+json"
ONE_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
"""A grey PNG file in base64: an example that is answered."""


class JsonImages(Schema):
    """Images as base64, for clients that can only send JSON."""

    images: Annotated[list[str], Field(min_length=1, fail_fast=True)] = Field(
        description="Complete image files, each in base64.", examples=[[ONE_PIXEL]]
    )


class PredictResponse(Schema):
    """The results for all images of a request, in the order sent."""

    model: ModelInfo
    results: list[Result]


class BatchTime(Schema):
    """The time of a run of one batch size, measured when the model was loaded."""

    images: int
    ms: float


class Serving(Schema):
    """How the model is run here."""

    instances: int = Field(description="Runs side by side in this process.")
    threads: int = Field(description="In each run.")
    max_batch_size: int = Field(
        description="Images in a run, at most: the setting, or fewer if more would not be faster."
    )
    batches: list[BatchTime]


class ArchitectureResponse(Schema):
    """The loaded network: its parts, their shapes and costs, and its provenance."""

    model: ModelInfo
    architecture: Architecture
    labels: tuple[str, ...]
    input: Input
    preprocessing: Preprocessing
    parameters: int = Field(description="Parameters of the trained network, norms included.")
    macs: int = Field(description="Multiply-adds for one image.")
    stem: Section
    stages: tuple[Stage, ...]
    head: Section
    temperature: float | None
    files: dict[Precision, ModelFile]
    metrics: Metrics | None = Field(description="Null: the weights were never measured.")
    calibration: Calibration | None
    refusal: OodDetector | None
    provenance: Provenance
    serving: Serving


class ServedModel(ModelInfo):
    """A model by name: the version that answers, and which others are loaded."""

    versions: list[str] = Field(description="All loaded versions, the oldest first.")
    aliases: dict[str, str] = Field(description="Aliases of versions.")
    default: bool = Field(description="Whether routes without a name use this model.")
    architecture: str = Field(examples=["mini_resnet"])
    labels: int = Field(description="Number of labels; the card lists them.")
    input: Input
    parameters: int
    bytes: int = Field(description="Size of the served file.")
    since: datetime = Field(description="When this process loaded it.")
    dataset: str | None = Field(description="Data set of its figures; null: never measured.")


class ModelsResponse(Schema):
    """What is served."""

    default: ModelInfo = Field(description="The version that answers without a name.")
    models: list[ServedModel]


class FailedModel(Schema):
    """A candidate that is not served; which one it is, and why, is for admins."""

    folder: Literal[""] = ""
    reason: Literal["Refused. An admin finds the reason in /v2/repository/index."] = (
        "Refused. An admin finds the reason in /v2/repository/index."
    )


class Sample(Schema):
    """An image from the artifact, and the label that it gets."""

    path: str = Field(examples=["samples/0.png"], description="Path, relative to the page.")
    label: str


class Limits(Schema):
    """Limits of a request."""

    max_body_bytes: int
    max_pixels: int
    deadline_ms: int


class CardResponse(Schema):
    """The manifest, and the options and limits of requests; for the page."""

    model: ModelInfo
    manifest: dict[str, Any] = Field(
        description="`manifest.json` without `summary` (`GET /architecture` has it) and `golden`."
    )
    samples: list[Sample]
    are_samples_pictures: bool = Field(
        description="False: the weights are random, and the samples are generated images, not "
        "test images."
    )
    options: list[str] = Field(description="The query parameters of `POST /predict`.")
    routes: list[str] = Field(description="The routes of this service.")
    limits: Limits


class Health(Schema):
    """The service is alive, or ready for requests; a problem says why it is not."""

    status: Literal["ok"] = "ok"
    model: ModelInfo = Field(description="The default model.")
    models: list[ModelInfo] = Field(description="All served models, the default first.")
    refused: list[FailedModel] = Field(description="Candidates that could not be loaded.")


class Problem(Schema):
    """Why a request failed (RFC 9457)."""

    type: str = Field("about:blank")
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(description="What was seen, the rule, and the way out.")
    code: str = Field(description="Stable code of the problem.", examples=["invalid_image"])
    index: int | None = Field(None, description="Index of the image in the request, from 0.")
    request_id: str | None = Field(None, description="As in `X-Request-Id`, and in the log.")
