"""What is computed once for a whole batch: finite images, top labels, their probabilities."""

import numpy as np
import pytest

from service.inference.outputs import BatchOutputs, Floats

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.4, 0.5, 0.1]], np.float32)


def outputs(**changes: Floats) -> BatchOutputs:
    return BatchOutputs(
        **{
            "logits": np.log(PROBABILITIES),
            "probabilities": PROBABILITIES,
            "score": np.array([1, 2, 3], np.float32),
            **changes,
        }
    )


def test_top_and_confidence_are_each_images_own() -> None:
    batch = outputs()

    assert batch.top.tolist() == [0, 2, 1]
    assert batch.confidence.tolist() == pytest.approx([0.7, 0.8, 0.5])


def test_finite_numbers_are_finite_with_and_without_a_score() -> None:
    without = BatchOutputs(PROBABILITIES, PROBABILITIES)

    assert outputs().finite.tolist() == without.finite.tolist() == [True] * 3


@pytest.mark.parametrize("name", ["logits", "probabilities", "score"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_only_the_image_with_a_number_that_is_not_finite_is_not(name: str, number: float) -> None:
    spoiled = np.array(getattr(outputs(), name))
    spoiled[1] = number

    assert outputs(**{name: spoiled}).finite.tolist() == [True, False, True]


def test_very_large_numbers_are_finite() -> None:
    large = np.full((3, 3), 1e30, np.float32)

    assert outputs(logits=large).finite.all()


def test_nothing_is_computed_twice() -> None:
    batch = outputs()

    assert batch.finite is batch.finite
    assert batch.top is batch.top
    assert batch.confidence is batch.confidence
