"""Make each precision of a graph, measure it on the whole test split, and gate it.

A failed gate raises, and nothing is written.
"""

from collections.abc import Iterable, Mapping
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
from training.data.dataset import Dataset, Split, spread
from training.errors import ExportError
from training.evaluation.metrics import reliability
from training.evaluation.predict import Answers, onnx_outputs, onnx_session
from training.export.latency import measure_speed
from training.export.quantize import calibrators_for, to_float16, to_int8, whole_batches
from training.trust.conformal import fit_sets, measure_sets
from training.trust.head import Fitted, honest_probabilities
from training.trust.ood import measure_refusal

CALIBRATING_PICTURES = 512
SPEED_BATCH = 8
"""Enough for a small network, and not dear for a large one."""
SPEED_THREADS = 1
"""The figure is a core's: how a service shares out several is settled where it runs."""
GATES: Mapping[Precision, float] = MappingProxyType({"float16": 0.05, "int8": 0.2})
"""Points of top-1 on the test split that a precision may lose."""


class AccuracyError(ExportError):
    """A precision loses more accuracy than its gate allows."""


@dataclass(frozen=True)
class Made:
    """A graph in one precision."""

    precision: Precision
    model: bytes
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Measured:
    """What one precision is worth on the test split."""

    answers: Answers
    calibration: CalibrationFigures
    prediction_sets: PredictionSets
    refusal: OodFigures


def chosen_precisions(wanted: tuple[str, ...]) -> tuple[Precision, ...]:
    """Read names, or `all`; float32 is always among them, for the others are held against it.

    Raises:
        ValueError: If there is no such precision.
    """
    unknown = set(wanted) - {*FILE_NAMES, "all"}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: must be {', '.join(FILE_NAMES)} or all.")
    everything = "all" in wanted
    return tuple(name for name in FILE_NAMES if everything or name == "float32" or name in wanted)


def make(float32: bytes, precision: Precision, calibrating: Tensor, judging: Split) -> Made:
    """Convert a graph; for int8 try every calibrator and keep the best.

    Args:
        float32: The graph.
        precision: What to make of it.
        calibrating: Training pictures, uint8 (N, S, S, C).
        judging: The validation split, which says which calibrator is the best.
    """
    if precision == "float32":
        return Made(precision, float32)
    if precision == "float16":
        return Made(precision, to_float16(float32))
    chosen = spread(len(calibrating), CALIBRATING_PICTURES)
    images = calibrating[chosen[: whole_batches(len(chosen))]].numpy()
    models = {name: to_int8(float32, images, name) for name in calibrators_for(len(images))}
    tried = {name: _share_right(model, judging) for name, model in models.items()}
    best = max(tried, key=tried.__getitem__)
    return Made(
        precision, models[best], Quantization(calibrator=best, pictures=len(images), tried=tried)
    )


def _share_right(model: bytes, split: Split) -> float:
    outputs = onnx_outputs(onnx_session(model), split.images, ("probabilities",))
    return float((outputs["probabilities"].argmax(1) == split.targets).double().mean())


def measure(
    made: Made, dataset: Dataset, fitted: Fitted, strange: Mapping[str, Tensor]
) -> Measured:
    """Answer validation, test and strange pictures once each, and draw up the figures.

    Raises:
        AccuracyError: If the graph overflows: its answers hold numbers that are not finite.
    """
    session = onnx_session(made.model)
    seen = onnx_outputs(session, dataset.validation.images, ("logits", "features", "score"))
    test = onnx_outputs(session, dataset.test.images, ("logits", "probabilities", "score"))
    answers = Answers(test["logits"], dataset.test.targets, test["probabilities"])
    _refuse_overflow(made.precision, (*seen.values(), *test.values()))
    honest = honest_probabilities(
        fitted, seen["logits"], seen["features"], dataset.validation.targets
    )
    sets = fit_sets(honest.numpy(), dataset.validation.targets.numpy())
    scores = {
        name: onnx_outputs(session, images, ("score",))["score"] for name, images in strange.items()
    }
    return Measured(
        answers=answers,
        calibration=CalibrationFigures(
            before=reliability(answers.logits.softmax(1), answers.targets),
            after=reliability(answers.calibrated(), answers.targets),
        ),
        prediction_sets=measure_sets(
            sets, answers.calibrated().numpy(), dataset.test.targets.numpy()
        ),
        refusal=measure_refusal(seen["score"], test["score"], scores),
    )


def _refuse_overflow(precision: Precision, outputs: Iterable[Tensor]) -> None:
    if not all(bool(values.isfinite().all()) for values in outputs):
        raise AccuracyError(
            f"{precision} gives numbers that are not finite on validation or test pictures. "
            f"Nothing was written; leave {precision} out."
        )


def gate(precision: Precision, float32: Answers, answers: Answers, allowed_points: float) -> None:
    """Stop a precision that costs too much.

    Raises:
        AccuracyError: If top-1 falls by more than the points allowed.
    """
    full, reduced = _top1(float32), _top1(answers)
    lost = 100 * (full - reduced)
    if not lost <= allowed_points + 1e-9:  # `not <=` also stops a NaN
        raise AccuracyError(
            f"{precision} loses {lost:.2f} points of top-1 on {len(answers.targets):,} test "
            f"pictures ({full:.2%} to {reduced:.2%}; allowed: {allowed_points:g}). Nothing was "
            f"written; raise the gate with --gate {precision}=POINTS, or leave {precision} out."
        )


def _top1(answers: Answers) -> float:
    return float((answers.calibrated().argmax(1) == answers.targets).double().mean())


def speed_of(made: Made, float32: bytes, images: Tensor) -> Speed | None:
    """Measure a precision's speed beside float32's; None for float32 itself.

    Args:
        made: The precision.
        float32: The graph that it was made of.
        images: uint8 (N, S, S, C); a batch of them is run.
    """
    if made.precision == "float32":
        return None
    batch: NDArray[np.uint8] = images[:SPEED_BATCH].numpy()
    return measure_speed(made.model, float32, batch, threads=SPEED_THREADS)
