"""How far answers can be trusted, in NumPy alone.

The figures of a manifest come from `training` and torchmetrics; these are written from the
definitions, so that both can be compared.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
BINS = 15


def expected_calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Mean distance of confidence and accuracy over equal bins, weighted by their answers.

    Args:
        confidence: Probability of the top label, (N,).
        right: Whether it is the truth, (N,).

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv 1706.04599).
    """
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def error_of_honest_answers(confidence: Floats, tries: int = 200) -> float:
    """Mean calibration error that chance alone gives answers which are right as often as they say.

    Args:
        confidence: Probability of the top label, (N,).
        tries: Draws of the truth.
    """
    rng = np.random.default_rng(0)
    drawn = (rng.random(len(confidence)) < confidence for _ in range(tries))
    return float(np.mean([expected_calibration_error(confidence, right) for right in drawn]))


def area_under_curve(known: Floats, ood: Floats) -> float:
    """Chance that an in-distribution image scores higher than an OOD one; ties count half."""
    ascending = np.sort(ood)
    below = np.searchsorted(ascending, known, side="left")
    below_or_equal = np.searchsorted(ascending, known, side="right")
    return float((below + below_or_equal).sum() / 2 / len(known) / len(ood))


def cover(images: NDArray[np.uint8], cells: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Paint cells of a grid black: uint8 (N, S, S) and bool (N, h, h) -> uint8 (N, S, S).

    A pixel belongs to the cell that its centre lies in.
    """
    side, grid = images.shape[1], cells.shape[1]
    of_pixel = np.arange(side) * grid // side  # (S,)
    covered = cells[:, of_pixel][:, :, of_pixel]  # (N, S, S)
    return np.where(covered, 0, images).astype(np.uint8)


def highest(values: Floats, share: float) -> NDArray[np.bool_]:
    """Mark the largest share of each grid's cells: (N, h, h) -> bool (N, h, h)."""
    flat = values.reshape(len(values), -1)
    count = max(1, int(flat.shape[1] * share))
    place = np.argsort(np.argsort(-flat, axis=1), axis=1)  # 0 for the largest
    return (place < count).reshape(values.shape)
