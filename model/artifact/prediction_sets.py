"""Prediction sets: the score that decides which labels belong into them.

Training finds the thresholds, the service applies them; both score here. NumPy only.

The score is RAPS's: the probability of all labels ranked above, a part of the label's
own, and a penalty for each label beyond the free ones. The part is random in the paper.
Here it is 1 - the top probability: the same image always gets the same set. Split conformal
prediction holds for any fixed score, so for this one too. No set is empty: the likeliest label
is always in it, so coverage can only be higher than the threshold's.

Source:
    Angelopoulos et al., "Uncertainty Sets for Image Classifiers using Conformal
    Prediction", 2021 (arXiv 2009.14193); Romano et al., 2020 (arXiv 2006.02544).
"""

import math

import numpy as np
from numpy.typing import NDArray

from model.artifact.trust import PerLabelSets, PredictionSets

LOWEST_COVERAGE, HIGHEST_COVERAGE = 0.5, 0.999


def conformal_scores(
    probabilities: NDArray[np.float32], penalty: float, free_labels: int
) -> NDArray[np.float64]:
    """Score every label of every image; the smaller, the earlier it joins the set.

    Args:
        probabilities: float32 (N, K), calibrated.
        penalty: For each label beyond the free ones.
        free_labels: Labels without a penalty.

    Returns:
        float64 (N, K), in the labels' order.
    """
    exact = probabilities.astype(np.float64)
    order = np.argsort(-exact, axis=1, kind="stable")
    ranked = np.take_along_axis(exact, order, axis=1)  # (N, K), likeliest first
    doubt = 1 - ranked[:, :1]
    beyond = np.clip(np.arange(1, ranked.shape[1] + 1) - free_labels, 0, None)
    scores = np.cumsum(ranked, axis=1) - ranked + doubt * ranked + penalty * beyond
    unranked: NDArray[np.float64] = np.empty_like(scores)
    np.put_along_axis(unranked, order, scores, axis=1)
    return unranked


def threshold(sets: PredictionSets, coverage: float) -> float:
    """Give the threshold of the least coverage of the table that is not below the wanted one.

    Between two entries no line can be drawn: scores have gaps, for example between the
    first labels and the second, in which the threshold jumps. Beyond the table's end only all
    labels are sure to cover as often: the threshold is infinite.
    """
    place = int(np.searchsorted(np.array(sets.coverages), coverage - 1e-9))
    return sets.thresholds[place] if place < len(sets.thresholds) else math.inf


def label_thresholds(sets: PerLabelSets, coverage: float) -> NDArray[np.float64]:
    """Give each label's threshold, as `threshold` does for all labels, (K,)."""
    place = int(np.searchsorted(np.array(sets.coverages), coverage - 1e-9))
    if place == len(sets.thresholds):
        return np.full(len(sets.n), math.inf)
    return np.array(sets.thresholds[place])


def members(
    probabilities: NDArray[np.float32],
    sets: PredictionSets,
    coverage: float,
    *,
    per_label: bool = False,
) -> NDArray[np.bool_]:
    """Tell which labels belong into the sets; the likeliest one always does.

    Args:
        probabilities: float32 (N, K), calibrated.
        sets: The thresholds.
        coverage: How often the true label is in the sets.
        per_label: Of the images of each label, not of all; `sets.per_label` must be there.

    Returns:
        bool (N, K).
    """
    chosen = within_threshold(probabilities, sets, coverage, per_label=per_label)
    chosen[np.arange(len(chosen)), probabilities.argmax(axis=1)] = True
    return chosen


def within_threshold(
    probabilities: NDArray[np.float32],
    sets: PredictionSets,
    coverage: float,
    *,
    per_label: bool = False,
) -> NDArray[np.bool_]:
    """Tell which labels' scores are within the threshold: perhaps none of an image."""
    scores = conformal_scores(probabilities, sets.penalty, sets.free_labels)
    if per_label and sets.per_label is not None:
        limits = label_thresholds(sets.per_label, coverage)
        return np.asarray(scores <= limits, np.bool_)
    return np.asarray(scores <= threshold(sets, coverage), np.bool_)
