"""Fit prediction sets that contain the true label as often as asked.

Split conformal prediction: the thresholds are quantiles of the calibration split's scores. The
network, the calibrator and the score are fixed before, on other images, so a new image is as
likely to have any rank among them: the guarantee holds for any number of images.

Without a calibration split the thresholds are the validation split's, each image calibrated by
a calibrator that was fitted without it. That split chose the network, so nothing is guaranteed.

Source:
    Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction", 2021
    (arXiv 2107.07511); Vovk, "Conditional Validity of Inductive Conformal Predictors", 2012, for
    thresholds per label.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifact.prediction_sets import (
    HIGHEST_COVERAGE,
    LOWEST_COVERAGE,
    conformal_scores,
    members,
    within_threshold,
)
from model.artifact.trust import Coverage, PerLabelSets, PredictionSets
from training.trust.intervals import rank_interval, share_interval

Floats = NDArray[np.float32]
PENALTIES = (0.0, 0.01, 0.03, 0.1)
FREE_LABELS = (1, 2, 5)
COVERAGES = (
    *np.arange(LOWEST_COVERAGE, 0.945, 0.01).round(3).tolist(),
    *np.arange(0.95, HIGHEST_COVERAGE + 0.0005, 0.001).round(3).tolist(),
)
PER_LABEL_COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.98, 0.99, 0.995)
MIN_PER_LABEL = 19
"""Images of the rarest label, for thresholds of each label: enough for 0.95."""
REPORTED_COVERAGES = (0.90, 0.95, 0.99)
MAX_REPORTED_LABELS = 100
"""With more labels the manifest does not have each one's coverage."""


class Answers(NamedTuple):
    """What a split was answered.

    Attributes:
        probabilities: Calibrated, (N, K).
        targets: The true labels, (N,).
    """

    probabilities: Floats
    targets: NDArray[np.int64]


def fit_sets(chooses: Answers, calibrates: Answers, split: str) -> PredictionSets | None:
    """Choose the penalty that gives the smallest sets, and set the thresholds.

    A coverage needs n images with (n + 1) coverage <= n. The table ends at the highest that has
    them: above it, only sets of all labels could be promised.

    Args:
        chooses: Chooses the penalty; of the validation split, out of fold.
        calibrates: Sets the thresholds.
        split: Name of the split that `calibrates` is of.

    Returns:
        None if there are not enough images for any two coverages.
    """
    if len(_possible(COVERAGES, len(calibrates.targets))) < 2:
        return None
    candidates = [
        (penalty, free)
        for penalty in PENALTIES
        for free in (FREE_LABELS if penalty else FREE_LABELS[:1])
    ]
    chosen = min(candidates, key=lambda each: _mean_size(chooses, *each))
    return _table(calibrates, split, *chosen)


def _possible(coverages: Sequence[float], images: int) -> list[float]:
    """Return the coverages that so many images allow."""
    return [level for level in coverages if _rank(images, level) <= images]


def _mean_size(chooses: Answers, penalty: float, free_labels: int) -> float:
    """Return how many labels the sets of the reported coverages have together, on average."""
    scores = conformal_scores(chooses.probabilities, penalty, free_labels)
    count = len(chooses.targets)
    of_target = np.sort(scores[np.arange(count), chooses.targets])
    levels = _possible(REPORTED_COVERAGES, count) or _possible(COVERAGES, count)[-1:]
    limits = [of_target[_rank(count, level) - 1] for level in levels]
    return sum(float((scores <= limit).mean()) for limit in limits)


def _table(calibrates: Answers, split: str, penalty: float, free_labels: int) -> PredictionSets:
    scores = conformal_scores(calibrates.probabilities, penalty, free_labels)
    count = len(calibrates.targets)
    of_target = scores[np.arange(count), calibrates.targets]
    levels = _possible(COVERAGES, count)
    return PredictionSets(
        penalty=penalty,
        free_labels=free_labels,
        split=split,
        n=count,
        coverages=tuple(levels),
        thresholds=_thresholds(of_target, levels),
        measured=(),
        per_label=_per_label(of_target, calibrates.targets, scores.shape[1]),
    )


def _thresholds(of_target: NDArray[np.float64], levels: Sequence[float]) -> tuple[float, ...]:
    ascending = np.sort(of_target)
    return tuple(float(ascending[_rank(len(ascending), level) - 1]) for level in levels)


def _per_label(
    of_target: NDArray[np.float64], targets: NDArray[np.int64], classes: int
) -> PerLabelSets | None:
    """Set thresholds for each label by its own images; None if a label has too few."""
    counts = np.bincount(targets, minlength=classes)
    if counts.min() < MIN_PER_LABEL:
        return None
    levels = _possible(PER_LABEL_COVERAGES, int(counts.min()))
    by_label = [_thresholds(of_target[targets == label], levels) for label in range(classes)]
    return PerLabelSets(
        n=tuple(counts.tolist()),
        coverages=tuple(levels),
        thresholds=tuple(zip(*by_label, strict=True)),
        measured=(),
    )


def _rank(images: int, coverage: float) -> int:
    """Return ceil((n + 1) coverage): that score, in ascending order, covers a new image so often.

    Rounded first: 0.95 * 20 is 19 and a rounding error.
    """
    return math.ceil(round((images + 1) * coverage, 9))


def measure_sets(sets: PredictionSets, measured: Answers) -> PredictionSets:
    """Measure the coverage and the size of the sets on the test split."""
    found = tuple(
        _measure(sets, measured, wanted, per_label=False)
        for wanted in REPORTED_COVERAGES
        if wanted <= sets.coverages[-1]  # otherwise there are too few images for it
    )
    own = sets.per_label
    if own is not None:
        levels = [wanted for wanted in REPORTED_COVERAGES if wanted <= own.coverages[-1]]
        own = own.model_copy(
            update={
                "measured": tuple(
                    _measure(sets, measured, wanted, per_label=True) for wanted in levels
                )
            }
        )
    return sets.model_copy(update={"measured": found, "per_label": own})


def _measure(
    sets: PredictionSets, measured: Answers, wanted: float, *, per_label: bool
) -> Coverage:
    probabilities, targets = measured
    count, classes = probabilities.shape
    rows = np.arange(count), targets
    within = within_threshold(probabilities, sets, wanted, per_label=per_label)  # (N, K)
    chosen = members(probabilities, sets, wanted, per_label=per_label)
    right = chosen[rows]
    is_guaranteed = sets.split == "calibration" and not per_label
    ends = rank_interval(_rank(sets.n, wanted), sets.n, count) if is_guaranteed else None
    of_label = [right[targets == label] for label in range(classes)]
    return Coverage(
        wanted=wanted,
        measured=float(right.mean()),
        interval=share_interval(int(right.sum()), count),
        by_threshold=float(within[rows].mean()),
        expected=ends,
        mean_size=float(chosen.sum(1).mean()),
        empty=float((~within.any(1)).mean()),
        per_label=None
        if classes > MAX_REPORTED_LABELS
        else tuple(float(its.mean()) if len(its) else None for its in of_label),
    )
