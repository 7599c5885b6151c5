"""Find how sets of labels must be cut to hold the truth as often as wanted.

Split conformal prediction: the thresholds are quantiles of the validation split's
scores. Each picture there is answered by a calibrator that was fitted without it, so
that the calibrator's fit does not spoil the guarantee.

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
SHOWN = (0.90, 0.95, 0.99)


def fit_sets(probabilities: Floats, targets: NDArray[np.int64]) -> PredictionSets:
    """Choose the penalty that gives the smallest sets, and the thresholds for every coverage.

    Args:
        probabilities: Of the validation split, (N, K), by calibrators that did not see it.
        targets: The truth, (N,).
    """
    candidates = [
        _table(probabilities, targets, penalty, free)
        for penalty in PENALTIES
        for free in (FREE_LABELS if penalty else FREE_LABELS[:1])
    ]

    def mean_size(sets: PredictionSets) -> float:
        return sum(float(members(probabilities, sets, level).mean()) for level in SHOWN)

    return min(candidates, key=mean_size)


def _table(
    probabilities: Floats, targets: NDArray[np.int64], penalty: float, free_labels: int
) -> PredictionSets:
    scores = conformal_scores(probabilities, penalty, free_labels)
    of_truth = np.sort(scores[np.arange(len(targets)), targets])
    everything = 2 + penalty * probabilities.shape[1]  # no score is as high: all labels
    return PredictionSets(
        penalty=penalty,
        free_labels=free_labels,
        n=len(targets),
        coverages=COVERAGES,
        thresholds=tuple(_quantile(of_truth, level, everything) for level in COVERAGES),
        measured=(),
    )


def _quantile(ascending: NDArray[np.float64], coverage: float, everything: float) -> float:
    """Give the ceil((n + 1) coverage)-th score: with it, coverage holds for a new picture."""
    place = math.ceil((len(ascending) + 1) * coverage)
    return everything if place > len(ascending) else float(ascending[place - 1])


def measure_sets(
    sets: PredictionSets, probabilities: Floats, targets: NDArray[np.int64]
) -> PredictionSets:
    """Count how often the sets hold the truth on the test split, and how large they are."""
    measured = []
    for wanted in SHOWN:
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
