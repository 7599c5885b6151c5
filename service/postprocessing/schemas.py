"""Schemas of a prediction."""

from typing import (
    Annotated,
    Literal,
    NotRequired,  # pydantic asks for these before 3.12
)

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from model.artifact.manifest import Precision


class Schema(BaseModel):
    """The configuration of all schemas."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelInfo(Schema):
    """The model that answered, with its provider and precision."""

    name: str = Field(examples=["fashion-mnist"])
    version: str = Field(examples=["1"])
    precision: Precision
    provider: Literal["cpu", "cuda"] = Field(description="Where the engine really runs.")


@with_config(extra="forbid")
class Prediction(TypedDict):
    """One label and its probability."""

    label: Annotated[str, Field(examples=["Ankle boot"])]
    index: Annotated[int, Field(ge=0, description="Position in the model's `labels`.")]
    probability: Annotated[
        float, Field(ge=0, le=1, description="Calibrated softmax over all labels.")
    ]


class Box(Schema):
    """A rectangle in pixels of the upright image; the origin is its top left corner."""

    left: float
    top: float
    right: float
    bottom: float


class Explanation(Schema):
    """Where the network saw the top label: what each position adds to its logit."""

    map: list[list[float]] = Field(
        description="Rows from the top; their mean plus `bias` is `logit`."
    )
    maps: list[list[list[float]]] = Field(
        description="One for each of the likeliest labels, in the order of `predictions`, at most "
        "five; the first is `map`. Artifacts of earlier versions have only that one."
    )
    logit: float = Field(description="Of the top label, before calibration.")
    bias: float | None = Field(None, description="Of that label; left out if not recorded.")
    box: Box = Field(description="The crop that the map covers.")
    png: str | None = Field(
        None,
        description="With `explain=png`: a transparent layer of the upright image's size, as a "
        "PNG file in base64.",
    )


@with_config(extra="forbid")
class Result(TypedDict):
    """The result for one image, without fields that were not requested or are not available."""

    predictions: Annotated[list[Prediction], Field(description="The likeliest first.")]
    in_distribution: NotRequired[
        Annotated[
            bool,
            Field(
                description="False: unlike the training images. Also false for about 5 of 100 "
                "good images, most of which have the right label: let a person check "
                "such images, do not discard them."
            ),
        ]
    ]
    score: NotRequired[
        Annotated[
            float,
            Field(description="Higher for images more like the training images; no fixed range."),
        ]
    ]
    prediction_set: NotRequired[
        Annotated[
            list[Prediction],
            Field(
                description="With `coverage`: contains the true label at least that often, and "
                "always the likeliest one. Likeliest first."
            ),
        ]
    ]
    explanation: NotRequired[Annotated[Explanation, Field(description="With `explain`.")]]
    features: NotRequired[
        Annotated[
            list[float],
            Field(description="With `features`: the input of the head, for search and clustering."),
        ]
    ]


class Quantity(Schema):
    """How far the distribution of one quantity is from the reference."""

    psi: float = Field(
        ge=0, description="Population stability index, less the value that chance alone gives."
    )
    by_chance: float = Field(
        description="What was subtracted: the value expected if nothing changed."
    )
    status: Literal["unknown", "steady", "moving", "changed"] = Field(
        description="`steady` under 0.1, `moving` under 0.25, `changed` above; `unknown` under "
        "200 images."
    )


class DriftResponse(Schema):
    """The last images of this process, compared with the artifact's reference."""

    window: int = Field(description="Size of the window.")
    pictures: int = Field(description="Images in the window now.")
    reference_pictures: int | None = Field(description="Null: the artifact has no reference.")
    quantities: dict[str, Quantity]
