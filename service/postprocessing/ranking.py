"""The most probable labels of an image, in order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.postprocessing.batch import BatchAnswers
from service.postprocessing.schemas import Prediction


def rank(answers: BatchAnswers, row: int, labels: Sequence[str], top_k: int) -> list[Prediction]:
    """List the most probable labels first; of equals, the one that comes first in `labels`.

    Args:
        answers: Of the image's batch.
        row: Of the image in it.
        labels: K names.
        top_k: How many; more than K means all.
    """
    probabilities = answers.probabilities[row]
    order = first(probabilities, top_k) if answers.order is None else answers.order[row, :top_k]
    return [
        {"label": labels[index], "index": index, "probability": min(max(probability, 0.0), 1.0)}
        for index, probability in zip(order.tolist(), probabilities[order].tolist(), strict=True)
    ]


def first(probabilities: NDArray[np.float32], top_k: int) -> NDArray[np.intp]:
    """Find the highest values of many without sorting all.

    Returns:
        Their positions (top_k,), highest first; of equals, the first one first.
    """
    count = len(probabilities)
    if 2 * top_k >= count:
        return np.argsort(-probabilities, kind="stable")[:top_k]
    lowest = np.partition(probabilities, count - top_k)[count - top_k]
    candidates = np.flatnonzero(
        probabilities >= lowest
    )  # perhaps more than `top_k`: equals of the lowest
    return candidates[np.argsort(-probabilities[candidates], kind="stable")[:top_k]]
