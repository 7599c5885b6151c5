"""Golden answers: a few images with their probabilities, which the service checks at startup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.artifact.golden import pack
from model.artifact.manifest import MAX_TOLERANCE, Golden, Precision
from model.preprocessing import Preprocessing
from training.errors import ExportError
from training.evaluation.predict import Predictions
from training.export.precisions import AccuracyError
from training.export.random_weights import random_images
from training.export.session import ExportSession

GOLDEN_MARGIN = 2.0
"""A cheaper precision may be this many times as far from float32 as it was at export ..."""
GOLDEN_FLOOR = 0.01
"""... and this much more."""
GOLDEN_IMAGES = 10
GENERATED_IMAGES = 64


@dataclass(frozen=True)
class GoldenImages:
    """Images uint8 (N, S, S, C), and their probabilities (N, K) in each precision.

    Attributes:
        generated: Whether the images were drawn at random.
    """

    images: Tensor
    probabilities: Mapping[Precision, Tensor]
    generated: bool = False


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
        raise ExportError(
            "The precisions give the same label for no test image. Export only float32."
        )
    return firsts[:GOLDEN_IMAGES]


def generated_golden(
    sessions: Mapping[Precision, ExportSession], preprocessing: Preprocessing
) -> GoldenImages:
    """Draw images, and keep those whose label is the clearest in all precisions.

    Raises:
        ExportError: If the precisions agree on none.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images = random_images(GENERATED_IMAGES, preprocessing)
    found = {
        name: session.run(images, ("probabilities",))["probabilities"]
        for name, session in sessions.items()
    }
    tops = torch.stack([values.argmax(1) for values in found.values()])
    margins = torch.stack([values.topk(2, 1).values for values in found.values()])
    clear = (margins[..., 0] - margins[..., 1]).amin(0)  # (N,)
    clear[~(tops == tops[0]).all(0)] = -1
    rows = clear.argsort(descending=True)[:GOLDEN_IMAGES]
    rows = rows[clear[rows] >= 0]
    if not len(rows):
        raise ExportError(
            "The precisions give the same label for no generated image. Export only float32."
        )
    return GoldenImages(images[rows], {name: values[rows] for name, values in found.items()}, True)


def golden_answers(golden: GoldenImages, labels: Sequence[str]) -> tuple[Golden, ...]:
    """Write the golden answers of float32 for the manifest."""
    probabilities = golden.probabilities["float32"]
    return tuple(
        Golden(
            png=pack(image),
            top1=(top1 := int(row.argmax())),
            label=labels[top1] if top1 < len(labels) else None,
            probabilities=tuple(float(f"{value:.7g}") for value in row.tolist()),
            generated=golden.generated,
        )
        for image, row in zip(golden.images.numpy(), probabilities, strict=True)
    )


def golden_tolerance(probabilities: Mapping[Precision, Tensor], precision: Precision) -> float:
    """Return how far a probability may be from the golden answer.

    float32 may differ by the rounding of another processor, the others by what they differed by
    at export, with a margin.

    Raises:
        AccuracyError: If a precision differs so much that golden answers could not check it.
    """
    most = MAX_TOLERANCE[precision]
    if precision == "float32":
        return most
    error = (probabilities[precision] - probabilities["float32"]).abs().max().item()
    if not error <= most:  # `not <=` also stops a NaN
        seen = f"A probability of {precision} differs from float32's by {error:.2g}"
        raise AccuracyError(f"{seen}; golden answers could not check it (allowed: {most:g}).")
    return min(most, round(GOLDEN_FLOOR + GOLDEN_MARGIN * error, 4))
