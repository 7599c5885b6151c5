"""Parts of the manifest that say how far answers can be trusted.

Calibration, prediction sets, out-of-distribution (OOD) scores, speed, and the reference that
live traffic is compared with. `docs/trust.md` says how each figure is measured.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.limits import Amount, Count, Number, Positive, Share, Whole
from model.printable import Text


class Part(BaseModel):
    """A piece of the manifest: frozen, and nothing undeclared."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Reliability(Part):
    """Calibration errors of the probabilities; lower is better in all of them."""

    ece: Share = Field(description="Expected calibration error of the top label, 15 equal bins.")
    brier: float = Field(ge=0, le=2, description="Mean squared distance from the one-hot truth.")
    nll: Amount = Field(description="Mean cross-entropy, in nats.")
    smooth_ece: Share | None = Field(
        None, description="Calibration error of the top label without bins, by kernel smoothing."
    )
    classwise_ece: Share | None = Field(
        None, description="ECE of each label's probability, 15 equal bins; mean over the labels."
    )


class Bins(Part):
    """A reliability diagram: equal bins of confidence in [0, 1], lowest first."""

    n: tuple[Count, ...] = Field(description="Answers in each bin.")
    confidence: tuple[Share, ...] = Field(description="Their mean confidence; 0 if there are none.")
    accuracy: tuple[Share, ...] = Field(description="Share of them that is right.")


class Diagrams(Part):
    """Confidence against accuracy, of the plain softmax and of the graph's probabilities."""

    before: Bins
    after: Bins


class CalibrationFigures(Part):
    """The test split before and after the calibrator."""

    before: Reliability = Field(description="Plain softmax of the logits.")
    after: Reliability = Field(description="The graph's `probabilities`.")


class Calibration(Part):
    """The calibrator in the graphs, and the figures that chose it."""

    method: Text = Field(examples=["temperature"])
    coefficients: Mapping[Text, tuple[Number, ...]]
    split: Text = Field(description="What it was fitted on.")
    n: Whole
    wrong: Count | None = Field(None, description="Of the n answers; None: not recorded.")
    max_probability: Share | None = Field(
        None, description="No probability is above it; None: it has no such limit."
    )
    left_out: Text | None = Field(
        None, description="Why the plain softmax was kept; None: the calibrator is in the graph."
    )
    folds: int = Field(ge=2, description="Of the cross-validation that chose the method.")
    cross_validated_nll: Mapping[Text, Number] = Field(description="Of every method tried.")


class Coverage(Part):
    """How often the sets for one wanted coverage had the true label, on the test split."""

    wanted: Share
    measured: Share = Field(description="Of the sets as served.")
    interval: tuple[Share, Share] | None = Field(
        None, description="Exact 95 % interval of `measured` (Clopper and Pearson)."
    )
    by_threshold: Share | None = Field(
        None, description="By the threshold alone, before empty sets get the likeliest label."
    )
    expected: tuple[Share, Share] | None = Field(
        None,
        description="95 % interval of `by_threshold` on so many images, whatever the network: the "
        "beta-binomial distribution. None: without a calibration split nothing is guaranteed.",
    )
    mean_size: Amount = Field(description="Labels in a set.")
    empty: Share = Field(
        description="Sets that the threshold leaves empty; the likeliest label is served for them."
    )
    per_label: tuple[Share | None, ...] | None = Field(
        None, description="`measured` of the images of each label. None: over 100 labels."
    )


class PerLabelSets(Part):
    """Class-conditional (Mondrian) thresholds: each label is covered as often as wanted."""

    n: tuple[Whole, ...] = Field(description="Images of each label behind its thresholds.")
    coverages: tuple[Share, ...] = Field(min_length=1, description="Ascending.")
    thresholds: tuple[tuple[Number, ...], ...] = Field(
        description="For each coverage, the largest score of each label that is still in the set."
    )
    measured: tuple[Coverage, ...]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if list(self.coverages) != sorted(self.coverages):
            raise ValueError("`coverages` must ascend.")
        if len(self.coverages) != len(self.thresholds):
            raise ValueError("`coverages` and `thresholds` must be of one length.")
        if any(len(row) != len(self.n) for row in self.thresholds):
            raise ValueError("`thresholds` must have a value for each label.")
        return self


class PredictionSets(Part):
    """Split conformal prediction: which labels belong into a set, for any coverage."""

    penalty: Amount = Field(description="RAPS: added for each label beyond the free ones.")
    free_labels: Whole = Field(description="RAPS: labels without a penalty.")
    split: Text = Field("validation", description="What the thresholds were set on.")
    n: Whole = Field(description="Images of that split.")
    coverages: tuple[Share, ...] = Field(min_length=2, description="Ascending.")
    thresholds: tuple[Number, ...] = Field(description="Largest score that is still in the set.")
    measured: tuple[Coverage, ...]
    per_label: PerLabelSets | None = Field(
        None, description="None: not recorded, or some labels have too few images."
    )

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if len(self.coverages) != len(self.thresholds):
            raise ValueError("`coverages` and `thresholds` must be of one length.")
        for name in ("coverages", "thresholds"):
            values = getattr(self, name)
            if list(values) != sorted(values):
                raise ValueError(f"`{name}` must ascend.")
        return self


Kind = Literal["near", "far", "given"]


class OodSet(Part):
    """How well the score separates one set of OOD images from the test split."""

    auroc: Share
    auroc_interval: tuple[Share, Share] | None = Field(None, description="95 %, DeLong's.")
    flagged: Share | None = Field(description="Images under the threshold; None: there is none.")
    flagged_interval: tuple[Share, Share] | None = Field(
        None, description="Exact 95 % interval of `flagged` (Clopper and Pearson)."
    )
    n: Whole
    kind: Kind | None = Field(
        None,
        description="near: of the format that the network was trained for; far: anything else; "
        "given: the user's own. None: not recorded.",
    )


class OodFigures(Part):
    """The OOD threshold of one precision, and its effect."""

    threshold: Number | None = Field(
        description="Scores under it are out of distribution; None: `left_out` says why."
    )
    accepted: Share | None = Field(
        description="Of the test split; 0.95 of what set the threshold. None: there is none."
    )
    split: Text = Field("validation", description="What the threshold was set on.")
    n: Whole | None = Field(None, description="Images of that split.")
    flagged_interval: tuple[Share, Share] | None = Field(
        None, description="95 % interval of the share of new images that are flagged, given `n`."
    )
    flagged_interval_measured: tuple[Share, Share] | None = Field(
        None, description="The same of as many images as the measured split has."
    )
    flagged_top1: Share | None = Field(
        None,
        description="Top-1 of the test images that are flagged: what discarding them would lose.",
    )
    left_out: Text | None = Field(None, description="Why there is no threshold.")
    sets: Mapping[Text, OodSet]


class OodDetector(Part):
    """The OOD score in the graphs, and the AUROC of all that were compared."""

    score: Text = Field(examples=["mahalanobis"])
    chosen_on: Text
    compared: Mapping[Text, Mapping[Text, Share]] = Field(
        description="Score -> set -> AUROC, on what chose; higher is better."
    )


class Quantization(Part):
    """How the value ranges of an int8 model were estimated."""

    calibrator: Text = Field(examples=["entropy"])
    pictures: Whole = Field(description="Of the training split.")
    tried: Mapping[Text, Share] = Field(
        description="Calibrator -> agreement with float32 (no data) or top-1 on validation."
    )


class Speed(Part):
    """Images a second compared with float32, measured in alternating pairs of batches."""

    images_per_second: Positive
    float32_images_per_second: Positive
    ratio: Positive = Field(description="Median over the pairs.")
    batch_size: Whole
    threads: Whole
    pairs: Whole
    processor: Text


class Histogram(Part):
    """Shares of values between edges; the first and the last bin are open."""

    edges: tuple[Number, ...]
    shares: tuple[Share, ...]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.shares) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("`edges` must ascend and be one fewer than `shares`.")
        return self


class Reference(Part):
    """Statistics of the validation split, as the float32 model answers it."""

    split: Literal["validation"] = "validation"
    n: Whole
    labels: tuple[Share, ...] = Field(description="Share of each label among the answers.")
    confidence: Histogram
    out_of_distribution: Share | None = Field(description="None: there is no score.")
    brightness: Histogram = Field(description="Mean of the network's input, in [0, 1].")
    side: Histogram = Field(description="Shorter side of the images, in pixels.")
