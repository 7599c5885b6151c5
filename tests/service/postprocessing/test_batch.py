"""What is computed once for a whole batch: finite images, top labels, flags, brightness."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic_core import to_json

from service.inference.outputs import BatchOutputs
from service.postprocessing.batch import FEW_LABELS, BatchAnswers, label_heads, read_batch
from service.postprocessing.schemas import Result

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


@pytest.mark.parametrize("threshold", [None, 0.0])
@pytest.mark.parametrize("count", [1, 3])
def test_default_results_are_written_as_pydantic_writes_them(
    count: int, threshold: float | None
) -> None:
    random, labels = np.random.default_rng(1), ['a "boot"', "Stiefel\n", "靴", "x", "y", "z", ""]
    logits = random.normal(0, 40, (count, len(labels))).astype(np.float32)  # also 1e-30
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    scores = random.normal(0, 1e-4, count).astype(np.float32)
    outputs, images = (
        BatchOutputs(logits, probabilities, scores),
        np.zeros((count, 4, 4, 1), np.uint8),
    )

    found = read_batch(outputs, images, threshold, label_heads(labels)).default_results

    assert found is not None
    results = TypeAdapter(list[Result]).validate_json(b"[" + b",".join(found) + b"]", strict=True)
    assert to_json(results) == b"[" + b",".join(found) + b"]"
    for row, result in enumerate(results):
        order = sorted(range(len(labels)), key=lambda index: -probabilities[row, index])[:5]
        assert result["predictions"] == [
            {
                "label": labels[index],
                "index": index,
                "probability": float(probabilities[row, index]),
            }
            for index in order
        ]
        if threshold is not None:
            assert result["score"] == float(scores[row])
            assert result["in_distribution"] is bool(scores[row] >= threshold)


def test_many_labels_have_no_default_results() -> None:
    many = np.zeros((1, FEW_LABELS + 1), np.float32)
    labels = [str(index) for index in range(FEW_LABELS + 1)]

    found = read_batch(BatchOutputs(many, many), IMAGES[:1], None, label_heads(labels))

    assert found.default_results is None
