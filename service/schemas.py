"""What crosses the wire: requests, answers, problems. Frozen, nothing undeclared.

What every answer holds many of, predictions and results, are dicts with declared keys: to
make models of them would cost a twentieth of a request to a small network.
"""

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic asks for these before 3.12
)

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from model.architecture import Architecture
from model.manifest import Input, Metrics, ModelFile, Precision, Provenance
from model.preprocessing import Preprocessing
from model.rows import Section, Stage
from model.trust import Calibration, Refusal

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Schema(BaseModel):
    """The manners of everything on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JsonImages(Schema):
    """Pictures as text, for clients that speak nothing but JSON."""

    images: Annotated[list[str], Field(min_length=1, fail_fast=True)] = Field(
        description="Whole image files, each in base64."
    )


class ModelInfo(Schema):
    """Which model answered, and on what."""

    name: str = Field(examples=["fashion-mnist"])
    version: str = Field(examples=["1"])
    precision: Precision
    provider: Literal["cpu", "cuda"] = Field(description="What the engine really runs on.")


@with_config(extra="forbid")
class Prediction(TypedDict):
    """One label and how likely the model holds it to be."""

    label: Annotated[str, Field(examples=["Ankle boot"])]
    index: Annotated[int, Field(ge=0, description="Position in the model's `labels`.")]
    probability: Annotated[
        float, Field(ge=0, le=1, description="Calibrated softmax over all labels.")
    ]


class Box(Schema):
    """A rectangle in pixels of the upright picture; the origin is its top left corner."""

    left: float
    top: float
    right: float
    bottom: float


class Explanation(Schema):
    """Where the network saw the top label: what each place adds to its logit."""

    map: list[list[float]] = Field(
        description="Rows from the top; their mean plus `bias` is `logit`."
    )
    logit: float = Field(description="Of the top label, before calibration.")
    bias: float | None = Field(None, description="Of that label; left out if not recorded.")
    box: Box = Field(description="The crop that the map covers.")
    png: str | None = Field(
        None,
        description="With `explain=png`: a transparent layer of the upright picture's size, as a "
        "PNG file in base64.",
    )


@with_config(extra="forbid")
class Result(TypedDict):
    """The answer for one picture; what was not asked for, or is not recorded, is left out."""

    predictions: Annotated[list[Prediction], Field(description="The likeliest first.")]
    in_distribution: NotRequired[
        Annotated[
            bool,
            Field(description="No: of a kind that the network never saw; do not trust the labels."),
        ]
    ]
    score: NotRequired[
        Annotated[
            float,
            Field(description="The higher, the more like the training pictures; no fixed range."),
        ]
    ]
    prediction_set: NotRequired[
        Annotated[
            list[Prediction],
            Field(description="With `coverage`: holds the truth that often. May be empty."),
        ]
    ]
    explanation: NotRequired[Annotated[Explanation, Field(description="With `explain`.")]]
    features: NotRequired[
        Annotated[
            list[float],
            Field(description="With `features`: what the head reads, for search and clustering."),
        ]
    ]


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
    refusal: Refusal | None
    provenance: Provenance
    serving: Serving


class RefusedModel(Schema):
    """A candidate that is not served."""

    folder: str
    reason: str


class Quantity(Schema):
    """How far the distribution of one quantity is from the reference."""

    psi: float = Field(ge=0, description="Population stability index, less what chance gives.")
    by_chance: float = Field(description="What was taken off: expected if nothing changed.")
    status: Literal["unknown", "steady", "moving", "changed"] = Field(
        description="Under 0.1, under 0.25, above; unknown under 200 pictures."
    )


class DriftResponse(Schema):
    """The last pictures of this process, held against the artifact's reference."""

    window: int = Field(description="Pictures that are remembered at most.")
    pictures: int = Field(description="Pictures in the window now.")
    reference_pictures: int | None = Field(description="None: the artifact has no reference.")
    quantities: dict[str, Quantity]


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
