"""Fit prediction sets that contain the true label as often as asked.

Conformal prediction: the thresholds are quantiles of the validation split's scores. Each image
there is calibrated by a calibrator that was fitted without it, so that scores of images the
calibrator has seen do not make the sets too small.

Source:
    Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction", 2021
    (arXiv 2107.07511).
"""

import math

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


def fit_sets(probabilities: Floats, targets: NDArray[np.int64]) -> PredictionSets:
    """Choose the penalty that gives the smallest sets, and the thresholds for every coverage.

    Args:
        probabilities: Out-of-fold probabilities of the validation split, (N, K).
        targets: The true labels, (N,).
    """
    candidates = [
        _table(probabilities, targets, penalty, free)
        for penalty in PENALTIES
        for free in (FREE_LABELS if penalty else FREE_LABELS[:1])
    ]

    def mean_size(sets: PredictionSets) -> float:
        return sum(
            float(members(probabilities, sets, level).mean()) for level in REPORTED_COVERAGES
        )

    return min(candidates, key=mean_size)


def _table(
    probabilities: Floats, targets: NDArray[np.int64], penalty: float, free_labels: int
) -> PredictionSets:
    scores = conformal_scores(probabilities, penalty, free_labels)
    of_target = np.sort(scores[np.arange(len(targets)), targets])
    everything = 2 + penalty * probabilities.shape[1]  # above every score: the set of all labels
    return PredictionSets(
        penalty=penalty,
        free_labels=free_labels,
        n=len(targets),
        coverages=COVERAGES,
        thresholds=tuple(_quantile(of_target, level, everything) for level in COVERAGES),
        measured=(),
    )


def _quantile(ascending: NDArray[np.float64], coverage: float, everything: float) -> float:
    """Return the ceil((n + 1) coverage)-th score: it gives the coverage for a new image."""
    rank = math.ceil((len(ascending) + 1) * coverage)
    return everything if rank > len(ascending) else float(ascending[rank - 1])


def measure_sets(
    sets: PredictionSets, probabilities: Floats, targets: NDArray[np.int64]
) -> PredictionSets:
    """Measure the coverage and the size of the sets on the test split."""
    measured = []
    for wanted in REPORTED_COVERAGES:
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
