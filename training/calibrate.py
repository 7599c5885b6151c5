"""Fit the temperature that turns logits into honest probabilities.

Source:
    Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv 1706.04599).
"""

import torch

from training.evaluate import Answers


def fit_temperature(answers: Answers) -> float:
    """Find the temperature with the lowest cross-entropy, by golden-section search.

    The loss is convex in 1 / temperature. The best lies below 1 for networks trained with
    label smoothing, above 1 for most others: it is not held to either side.

    Args:
        answers: Of the validation split; the test split must not choose anything.

    Returns:
        The divisor of the logits, in [0.05, 20].
    """
    logits, targets = answers.logits.double(), answers.targets

    def loss(inverse: float) -> float:
        return torch.nn.functional.cross_entropy(logits * inverse, targets).item()

    low, high = 0.05, 20.0
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-4:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return 2 / (low + high)
