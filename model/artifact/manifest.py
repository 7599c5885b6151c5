"""What `manifest.json` says about a model: everything but its weights.

The exporter writes it. The server checks what it can: digests, shapes and golden answers.
`model.artifact.trust` has the parts about calibration, prediction sets and drift.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic_core import from_json

from model.architecture.layers import Summary
from model.architecture.spec import Architecture
from model.architecture.summary import summarize
from model.artifact.provenance import Data, Provenance
from model.artifact.trust import (
    Calibration,
    CalibrationFigures,
    Diagrams,
    OodDetector,
    OodFigures,
    Part,
    PredictionSets,
    Quantization,
    Reference,
    Speed,
)
from model.limits import Amount, Count, ImageSize, Number, Positive, Share, Whole
from model.preprocessing import Preprocessing
from model.printable import Label, Text, as_seen
from model.validation import read_leniently

NEWEST_SCHEMA = 2
"""One more with each field that is renamed or dropped; an earlier one is read leniently."""

Precision = Literal["float32", "float16", "int8"]
FILE_NAMES: Mapping[Precision, str] = MappingProxyType(
    {"float32": "model.onnx", "float16": "model.fp16.onnx", "int8": "model.int8.onnx"}
)
MAX_TOLERANCE: Mapping[Precision, float] = MappingProxyType(
    {"float32": 1e-3, "float16": 0.1, "int8": 0.5}
)
"""Largest `golden_tolerance` that a manifest may ask for; beyond it, it is another model."""
MAX_BYTES_PER_PARAMETER = 8
MAX_OTHER_BYTES = 64 * 2**20
"""For what is in a model's file besides its parameters: the calibrator and the graph."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")]


class Input(Part):
    """What the graph reads: uint8 (N, size, size, channels), colours in RGB order."""

    size: ImageSize = Field(description="Side of the square image, in pixels.")
    channels: Literal[1, 3]


class ModelFile(Part):
    """One ONNX file, and the figures that were measured when it was exported."""

    path: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: Whole
    top1: Share | None = Field(None, description="On the test split; None: no data was given.")
    max_abs_logit_error: Amount = Field(description="From torch, or for others from float32.")
    top1_agreement: Share = Field(description="Share of images with the same top label.")
    golden_tolerance: Positive = Field(description="Allowed difference of a probability.")
    speed: Speed | None = Field(None, description="None: float32, or not recorded.")
    quantization: Quantization | None = Field(None, description="int8 alone.")
    calibration: CalibrationFigures | None = None
    prediction_sets: PredictionSets | None = None
    refusal: OodFigures | None = None


class Metrics(Part):
    """Figures of the float32 model on a split that training never saw."""

    top1: Share
    top5: Share
    loss: Amount = Field(description="Cross-entropy of the calibrated probabilities.")
    ece: Share = Field(description="Expected calibration error, 15 bins.")
    dataset: Text
    split: Text
    n: Whole
    confusion: tuple[tuple[Count, ...], ...] | None = Field(
        None, description="Counts; rows are the truth, columns the answer. None: over 100 labels."
    )
    reliability: Diagrams | None = Field(None, description="Of the float32 model.")


class Golden(Part):
    """An image and its answer; a server must give the same answer before it is ready."""

    png: str = Field(description="The network's input, as a PNG file in base64.")
    top1: Count
    label: Label | None = Field(None, description="The name of `top1`; None: not recorded.")
    probabilities: tuple[Share, ...]
    generated: bool = Field(False, description="Drawn at random: not an image of the data.")


class Manifest(Part):
    """Everything about a model but its weights."""

    schema_version: Literal[1, 2] = Field(
        2, description="1: nothing of `model.artifact.trust` recorded."
    )
    name: Name
    version: Version
    architecture: Architecture
    summary: Summary
    labels: tuple[Label, ...]
    input: Input
    preprocessing: Preprocessing
    temperature: Positive | None = Field(
        description="Divides the logits, in the graph; None: `calibration` says what does."
    )
    files: Mapping[Precision, ModelFile] = Field(min_length=1)
    metrics: Metrics | None
    golden: tuple[Golden, ...] = Field(min_length=1, max_length=100)
    provenance: Provenance
    data: Data | None = Field(None, description="None: not trained here, or not recorded.")
    calibration: Calibration | None = Field(None, description="None: not recorded, or not fitted.")
    refusal: OodDetector | None = Field(None, description="None: no images to fit it to.")
    reference: Reference | None = Field(None, description="None: there were no images.")
    head_bias: tuple[Number, ...] | None = Field(
        None, description="A label's logit is the mean of its activation map plus this."
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        classes = self.architecture.num_classes
        if len(self.labels) != classes or len(set(map(as_seen, self.labels))) != classes:
            raise ValueError(f"`labels` must be {classes} different names.")
        if not self.input.channels == self.preprocessing.channels == self.architecture.in_channels:
            raise ValueError("`input`, `preprocessing` and `architecture` differ in channels.")
        if self.input.size != self.preprocessing.crop:
            raise ValueError("`input.size` must be `preprocessing.crop`.")
        for name, values in (
            ("head_bias", self.head_bias),
            ("reference.labels", self.reference.labels if self.reference else None),
        ):
            if values is not None and len(values) != classes:
                raise ValueError(f"`{name}` must have {classes} values.")
        return self

    @model_validator(mode="after")
    def _has_its_own_golden_answers(self) -> Self:
        classes = len(self.labels)
        for golden in self.golden:
            if golden.top1 >= classes or len(golden.probabilities) != classes:
                raise ValueError(f"`golden` answers must be for {classes} labels.")
            if golden.label not in {None, self.labels[golden.top1]}:
                raise ValueError(
                    f"`labels` has {self.labels[golden.top1]!r} where the golden answer has "
                    f"{golden.label!r}: they are not the labels that the model was exported with."
                )
        return self

    @model_validator(mode="after")
    def _has_files_of_its_architecture(self) -> Self:
        size = self.input.size
        counted = summarize(self.architecture, size, size)
        if _outline(self.summary) != _outline(counted):
            raise ValueError(
                f"`summary` must be of `architecture`, with {counted.parameters:,} parameters for "
                f"images of {size} pixels."
            )
        most_bytes = MAX_BYTES_PER_PARAMETER * counted.parameters + MAX_OTHER_BYTES
        for precision, file in self.files.items():
            if file.bytes > most_bytes:
                raise ValueError(
                    f"`files.{precision}.bytes` (={file.bytes:,}) must be at most {most_bytes:,}, "
                    f"for {counted.parameters:,} parameters."
                )
            if file.golden_tolerance > MAX_TOLERANCE[precision]:
                raise ValueError(
                    f"`files.{precision}.golden_tolerance` (={file.golden_tolerance:g}) must be at "
                    f"most {MAX_TOLERANCE[precision]:g}."
                )
        return self


def _outline(summary: Summary) -> tuple[object, ...]:
    layers = [layer.path for layer, _ in summary.layers()]
    return summary.input_shape, summary.parameters, layers


ESSENTIAL = frozenset(Manifest.model_fields) - {
    "metrics", "provenance", "data", "calibration", "refusal", "reference", "head_bias"
}  # fmt: skip
"""What decides what is computed and checked; the other fields describe the model."""
MAX_PASSED_OVER = 100


def parse_manifest(content: bytes) -> tuple[Manifest, tuple[str, ...]]:
    """Read a manifest, and one of an earlier schema as far as it goes.

    In an earlier schema, fields that this version does not know are passed over. Nothing is
    passed over in the essential ones, and every value must keep its rules.

    Returns:
        The manifest, and the dotted names of what was passed over.

    Raises:
        ValidationError: If it breaks a rule.
    """
    try:
        return Manifest.model_validate_json(content), ()
    except ValidationError as error:
        if not _is_of_earlier_schema(content) or error.error_count() > MAX_PASSED_OVER:
            raise
    return read_leniently(Manifest, content, ESSENTIAL, unknown_only=True)


def _is_of_earlier_schema(content: bytes) -> bool:
    try:
        fields = from_json(content)
    except ValueError:
        return False
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    return type(version) is int and 1 <= version < NEWEST_SCHEMA
