"""Golden answers: a few images with their probabilities, which the service checks at startup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.artifact.golden import pack
from model.artifact.manifest import MAX_TOLERANCE, Golden, Precision
from training.errors import ExportError
from training.evaluation.predict import Predictions

GOLDEN_MARGIN = 2.0
"""A cheaper precision may be this many times as far from float32 as it was at export ..."""
GOLDEN_FLOOR = 0.01
"""... and this much more."""
GOLDEN_IMAGES = 10


@dataclass(frozen=True)
class GoldenImages:
    """Images uint8 (N, S, S, C), and their probabilities (N, K) in each precision."""

    images: Tensor
    probabilities: Mapping[Precision, Tensor]


def choose_golden(predictions: Sequence[Predictions], targets: Tensor) -> list[int]:
    """Choose test images: for each label the first that every precision predicts correctly.

    If there is none at all, one for which all precisions predict the same label: the service
    checks nothing else.

    Raises:
        ExportError: If there is none of those either.
    """
    tops = torch.stack([each.calibrated().argmax(1) for each in predictions])
    agreed = (tops == tops[0]).all(0)
    correct = agreed & (tops[0] == targets)
    firsts = [
        int((correct & (targets == label)).nonzero()[0])
        for label in sorted(set(targets[correct].tolist()))
    ]
    firsts = firsts or agreed.nonzero()[:1].flatten().tolist()
    if not firsts:
        raise ExportError("The precisions agree on no test image. Export float32 alone.")
    return firsts[:GOLDEN_IMAGES]


def golden_answers(golden: GoldenImages, labels: Sequence[str]) -> tuple[Golden, ...]:
    """Write the golden answers of float32 for the manifest."""
    probabilities = golden.probabilities["float32"]
    return tuple(
        Golden(
            png=pack(image),
            top1=(top1 := int(row.argmax())),
            label=labels[top1] if top1 < len(labels) else None,
            probabilities=tuple(round(float(value), 6) for value in row),
        )
        for image, row in zip(golden.images.numpy(), probabilities, strict=True)
    )


def golden_tolerance(probabilities: Mapping[Precision, Tensor], precision: Precision) -> float:
    """Return how far a probability may be from the golden answer.

    float32 may differ by the rounding of another processor, the others by what they differed by
    at export, with a margin.

    Raises:
        ExportError: If a precision differs so much that golden answers could not check it.
    """
    most = MAX_TOLERANCE[precision]
    if precision == "float32":
        return most
    error = (probabilities[precision] - probabilities["float32"]).abs().max().item()
    if not error <= most:  # `not <=` also stops a NaN
        seen = f"A probability of {precision} differs from float32's by {error:.2g}"
        raise ExportError(f"{seen} (allowed: {most:g}). Leave {precision} out.")
    return min(most, round(GOLDEN_FLOOR + GOLDEN_MARGIN * error, 4))
