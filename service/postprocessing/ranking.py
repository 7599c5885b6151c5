"""The likeliest labels of an image, in order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.postprocessing.schemas import Prediction

FEW_LABELS = 512
"""So many are sorted whole; of 21,000 it takes 4 ms to sort all, 0.05 ms to find the first five."""


def rank(probabilities: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """Give the likeliest labels first; of equals, the one that comes first in `labels`.

    Args:
        probabilities: float32 (K,).
        labels: K names.
        top_k: How many; more than K means all.
    """
    order = _first(probabilities, top_k)
    return [
        Prediction(label=labels[index], index=index, probability=min(max(probability, 0.0), 1.0))
        for index, probability in zip(order.tolist(), probabilities[order].tolist(), strict=True)
    ]


def _first(probabilities: NDArray[np.float32], top_k: int) -> NDArray[np.intp]:
    """Give the places of the highest values (top_k,), highest first; of equals, the first."""
    count = len(probabilities)
    if count <= FEW_LABELS or 2 * top_k >= count:
        return np.argsort(-probabilities, kind="stable")[:top_k]
    lowest = np.partition(probabilities, count - top_k)[count - top_k]
    candidates = np.flatnonzero(probabilities >= lowest)  # perhaps more: equals of the lowest
    return candidates[np.argsort(-probabilities[candidates], kind="stable")[:top_k]]
