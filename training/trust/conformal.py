"""Fit prediction sets that contain the true label as often as asked.

Conformal prediction: the thresholds are quantiles of the validation split's scores. Each image
there is calibrated by a calibrator that was fitted without it, so that scores of images the
calibrator has seen do not make the sets too small.

Source:
    Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction", 2021
    (arXiv 2107.07511).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.artifact.prediction_sets import (
    HIGHEST_COVERAGE,
    LOWEST_COVERAGE,
    conformal_scores,
    members,
)
from model.artifact.trust import Coverage, PredictionSets

Floats = NDArray[np.float32]
PENALTIES = (0.0, 0.01, 0.03, 0.1)
FREE_LABELS = (1, 2, 5)
COVERAGES = (
    *np.arange(LOWEST_COVERAGE, 0.945, 0.01).round(3).tolist(),
    *np.arange(0.95, HIGHEST_COVERAGE + 0.0005, 0.001).round(3).tolist(),
)
REPORTED_COVERAGES = (0.90, 0.95, 0.99)


def fit_sets(probabilities: Floats, targets: NDArray[np.int64]) -> PredictionSets | None:
    """Choose the penalty that gives the smallest sets, and the thresholds for every coverage.

    A coverage needs n images with (n + 1) coverage <= n. The table ends at the highest that has
    them: above it, only sets of all labels could be promised.

    Args:
        probabilities: Out-of-fold probabilities of the validation split, (N, K).
        targets: The true labels, (N,).

    Returns:
        None if there are not enough images for any two coverages.
    """
    levels = [level for level in COVERAGES if _rank(len(targets), level) <= len(targets)]
    if len(levels) < 2:
        return None
    candidates = [
        _table(probabilities, targets, levels, penalty, free)
        for penalty in PENALTIES
        for free in (FREE_LABELS if penalty else FREE_LABELS[:1])
    ]
    compared = [level for level in REPORTED_COVERAGES if level <= levels[-1]] or levels[-1:]

    def mean_size(sets: PredictionSets) -> float:
        return sum(float(members(probabilities, sets, level).mean()) for level in compared)

    return min(candidates, key=mean_size)


def _table(
    probabilities: Floats,
    targets: NDArray[np.int64],
    levels: Sequence[float],
    penalty: float,
    free_labels: int,
) -> PredictionSets:
    scores = conformal_scores(probabilities, penalty, free_labels)
    of_target = np.sort(scores[np.arange(len(targets)), targets])
    return PredictionSets(
        penalty=penalty,
        free_labels=free_labels,
        n=len(targets),
        coverages=tuple(levels),
        thresholds=tuple(float(of_target[_rank(len(targets), level) - 1]) for level in levels),
        measured=(),
    )


def _rank(images: int, coverage: float) -> int:
    """Return ceil((n + 1) coverage): that score, in ascending order, covers a new image so often.

    Rounded first: 0.95 * 20 is 19 and a rounding error.
    """
    return math.ceil(round((images + 1) * coverage, 9))


def measure_sets(
    sets: PredictionSets, probabilities: Floats, targets: NDArray[np.int64]
) -> PredictionSets:
    """Measure the coverage and the size of the sets on the test split."""
    measured = []
    for wanted in REPORTED_COVERAGES:
        if wanted > sets.coverages[-1]:
            continue  # the validation split is too small for it
        chosen = members(probabilities, sets, wanted)  # (N, K)
        measured.append(
            Coverage(
                wanted=wanted,
                measured=float(chosen[np.arange(len(targets)), targets].mean()),
                mean_size=float(chosen.sum(1).mean()),
                empty=float((~chosen.any(1)).mean()),
            )
        )
    return sets.model_copy(update={"measured": tuple(measured)})
