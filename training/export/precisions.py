"""Convert a graph to each precision, measure it on the whole test split, and gate it.

A failed gate raises, and nothing is written.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.artifact.manifest import FILE_NAMES, Precision
from model.artifact.trust import (
    CalibrationFigures,
    OodFigures,
    PredictionSets,
    Quantization,
    Speed,
)
from training.data.dataset import Dataset, Split, random_subset
from training.errors import ExportError
from training.evaluation.metrics import accuracy, reliability
from training.evaluation.predict import Predictions
from training.export.latency import measure_speed
from training.export.quantize import range_estimators, to_float16, to_int8, whole_batches
from training.export.session import ExportSession
from training.trust.conformal import Answers, fit_sets, measure_sets
from training.trust.head import FittedTrustHead
from training.trust.ood import Measured, measure_ood
from training.trust.ood_sets import OodImages

log = logging.getLogger(__name__)
RANGE_IMAGES = 512
"""Training images that find the ranges of int8."""
SPEED_BATCH = 8
"""Enough for a small network, and not too slow for a large one."""
GATES: Mapping[Precision, float] = MappingProxyType({"float16": 0.05, "int8": 0.2})
"""Points of top-1 accuracy on the test split that a precision may lose."""


class AccuracyError(ExportError):
    """A precision loses more accuracy than its gate allows."""


@contextmanager
def leaving_out(precision: Precision, optional: Collection[Precision]) -> Iterator[None]:
    """Log why an optional precision failed its gate, and go on without it.

    Raises:
        AccuracyError: If it is not optional.
    """
    try:
        yield
    except AccuracyError as error:
        if precision not in optional:
            advice = f"Nothing was written; leave {precision} out."
            raise AccuracyError(f"{error} {advice}") from error
        log.warning("%s is left out: %s", precision, error)


@dataclass(frozen=True)
class Variant:
    """A graph in one precision."""

    precision: Precision
    session: ExportSession
    quantization: Quantization | None = None

    @property
    def model(self) -> bytes:
        """The ONNX file."""
        return self.session.model


@dataclass(frozen=True)
class VariantMetrics:
    """The figures of one precision on the test split."""

    predictions: Predictions
    calibration: CalibrationFigures
    prediction_sets: PredictionSets | None
    ood: OodFigures


def chosen_precisions(wanted: tuple[str, ...]) -> tuple[Precision, ...]:
    """Read names, or `all`; float32 is always included, as the others are compared with it.

    Raises:
        ValueError: If there is no such precision.
    """
    unknown = set(wanted) - {*FILE_NAMES, "all"}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: must be {', '.join(FILE_NAMES)} or all.")
    everything = "all" in wanted
    return tuple(name for name in FILE_NAMES if everything or name == "float32" or name in wanted)


def make(
    float32: ExportSession, precision: Precision, images: Split, split: str, targets: Tensor
) -> Variant:
    """Convert a graph; for int8 try every range estimator and keep the most accurate.

    Args:
        float32: The graph.
        precision: To convert it to.
        images: To find the ranges of int8 with.
        split: Name of the session's split that the range estimators are compared on.
        targets: Of that split, (M,).
    """
    if precision == "float32":
        return Variant(precision, float32)
    if precision == "float16":
        return Variant(precision, float32.variant(to_float16(float32.model)))
    chosen = random_subset(len(images), RANGE_IMAGES)
    ranges = images[chosen[: whole_batches(len(chosen))]].images.numpy()
    sessions = {
        name: float32.variant(to_int8(float32.model, ranges, name))
        for name in range_estimators(len(ranges))
    }
    tried = {
        name: accuracy(predictions_of(session, split, targets))
        for name, session in sessions.items()
    }
    best = max(tried, key=tried.__getitem__)
    how = Quantization(calibrator=best, pictures=len(ranges), tried=tried)
    return Variant(precision, sessions[best], how)


def predictions_of(session: ExportSession, split: str, targets: Tensor) -> Predictions:
    """Return a graph's predictions for one of its splits."""
    outputs = session.outputs(split)
    return Predictions(outputs["logits"], targets, outputs["probabilities"])


def measured_predictions(session: ExportSession, dataset: Dataset) -> Predictions:
    """Return a graph's predictions for the split that measures it."""
    name = dataset.measuring
    return predictions_of(session, name, dataset.splits[name].targets)


def measure(
    variant: Variant, dataset: Dataset, fitted: FittedTrustHead, ood: Mapping[str, OodImages]
) -> VariantMetrics:
    """Compute the figures of a precision from its outputs for the splits and OOD images.

    The calibration split sets the thresholds, by the probabilities that are served. Without it
    the validation split does, out of fold, as it fitted the calibrator. Where validation
    measures, its images are calibrated out of fold, and the coverage of sets is not measured.

    Raises:
        AccuracyError: If the graph overflows: some outputs are not finite.
    """
    session = variant.session
    validation, test = session.outputs("validation"), session.outputs(dataset.measuring)
    calibrating = session.outputs(dataset.thresholding)
    used = (*validation.values(), *calibrating.values(), *test.values())
    _check_finite(variant.precision, used)
    predictions = measured_predictions(session, dataset)
    targets = dataset.validation.targets
    out_of_fold = fitted.out_of_fold_probabilities(
        validation["logits"], validation["features"], targets
    )
    chooses = calibrates = Answers(out_of_fold.numpy(), targets.numpy())
    if dataset.thresholding == "calibration":
        served = calibrating["probabilities"].numpy()
        calibrates = Answers(served, dataset.calibration.targets.numpy())
    sets = fit_sets(chooses, calibrates, dataset.thresholding)
    if dataset.measuring == "validation":
        predictions = Predictions(predictions.logits, targets, out_of_fold)
    elif sets is not None:
        answers = Answers(predictions.calibrated().numpy(), predictions.targets.numpy())
        sets = measure_sets(sets, answers)
    scores = {
        name: (each.kind, session.run(each.images, ("score",))["score"])
        for name, each in ood.items()
    }
    is_right = predictions.calibrated().argmax(1) == predictions.targets
    detector = fitted.detector
    return VariantMetrics(
        predictions=predictions,
        calibration=CalibrationFigures(
            before=reliability(predictions.logits.softmax(1), predictions.targets),
            after=reliability(predictions.calibrated(), predictions.targets),
        ),
        prediction_sets=sets,
        ood=measure_ood(
            calibrating["score"],
            Measured(test["score"], is_right),
            scores,
            detector.compared[detector.score],
            dataset.thresholding,
        ),
    )


def _check_finite(precision: Precision, outputs: Iterable[Tensor]) -> None:
    if not all(bool(values.isfinite().all()) for values in outputs):
        raise AccuracyError(
            f"{precision} gives numbers that are not finite for validation or test images."
        )


def gate(
    precision: Precision, float32: Predictions, reduced: Predictions, allowed_points: float
) -> None:
    """Reject a precision that loses too much accuracy.

    Raises:
        AccuracyError: If top-1 falls by more than the points allowed.
    """
    before, after = accuracy(float32), accuracy(reduced)
    lost = 100 * (before - after)
    if not lost <= allowed_points + 1e-9:  # `not <=` also stops a NaN
        raise AccuracyError(
            f"{precision} loses {lost:.2f} points of top-1 accuracy on "
            f"{len(reduced.targets):,} images ({before:.2%} to {after:.2%}; allowed: "
            f"{allowed_points:g}; change it with --gate {precision}=POINTS)."
        )


def speed_of(variant: Variant, float32: ExportSession, images: Split) -> Speed | None:
    """Compare the speed of a precision with float32's, on one core.

    Args:
        variant: The precision.
        float32: The graph that it was converted from.
        images: A batch of them is run.

    Returns:
        None for float32 itself.
    """
    if variant.precision == "float32":
        return None
    batch: NDArray[np.uint8] = images[:SPEED_BATCH].images.numpy()
    return measure_speed(variant.session.for_speed, float32.for_speed, batch)
