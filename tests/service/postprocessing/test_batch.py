"""What is computed once for a whole batch: finite images, top labels, flags, brightness."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.inference.outputs import BatchOutputs
from service.postprocessing.batch import FEW_LABELS, BatchAnswers, read_batch

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.4, 0.5, 0.1]], np.float32)
IMAGES = np.array([0, 255, 51], np.uint8).reshape(3, 1, 1, 1).repeat(2, axis=1)


def answers(threshold: float | None = 2, **changes: NDArray[np.float32]) -> BatchAnswers:
    outputs = {
        "logits": np.log(PROBABILITIES),
        "probabilities": PROBABILITIES,
        "score": np.array([1, 2, 3], np.float32),
        **changes,
    }
    return read_batch(BatchOutputs(**outputs), IMAGES, threshold)


def test_each_image_has_its_own_answer() -> None:
    batch = answers()

    assert batch.top == [0, 2, 1]
    assert batch.confidence == pytest.approx([0.7, 0.8, 0.5])
    assert batch.in_distribution == [False, True, True]
    assert batch.brightness == pytest.approx([0, 1, 0.2])
    assert batch.finite == [True] * 3


def test_without_a_threshold_there_is_no_flag_and_no_score() -> None:
    batch = answers(None)

    assert (batch.in_distribution, batch.score) == (None, None)


@pytest.mark.parametrize("name", ["logits", "probabilities", "score"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_only_the_image_with_a_number_that_is_not_finite_is_not(name: str, number: float) -> None:
    outputs = {"logits": PROBABILITIES, "probabilities": PROBABILITIES, "score": PROBABILITIES[0]}
    spoiled = outputs[name].copy()
    spoiled[1] = number

    assert answers(**{name: spoiled}).finite == [True, False, True]


def test_a_score_that_is_not_shown_may_be_anything() -> None:
    assert answers(None, score=np.full(3, np.nan, np.float32)).finite == [True] * 3


def test_very_large_numbers_are_finite() -> None:
    assert answers(logits=np.full((3, 3), 1e30, np.float32)).finite == [True] * 3


def test_many_labels_are_not_all_sorted() -> None:
    many = np.linspace(0, 1, FEW_LABELS + 1, dtype=np.float32)[None].repeat(3, axis=0)

    batch = answers(logits=many, probabilities=many)

    assert batch.order is None
    assert batch.top == [FEW_LABELS] * 3
