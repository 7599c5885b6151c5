"""Prediction sets: the score by hand, and the table between its entries."""

import numpy as np
import pytest
from pydantic import ValidationError

from model.artifact.prediction_sets import conformal_scores, members, threshold, within_threshold
from model.artifact.trust import PerLabelSets, PredictionSets

PROBABILITIES = np.array([[0.2, 0.7, 0.1], [0.05, 0.05, 0.9]], np.float32)


def _sets(coverages: tuple[float, ...], thresholds: tuple[float, ...]) -> PredictionSets:
    return PredictionSets(
        penalty=0.0,
        free_labels=1,
        n=100,
        coverages=coverages,
        thresholds=thresholds,
        measured=(),
    )


def test_the_score_is_what_stands_above_and_a_part_of_ones_own() -> None:
    scores = conformal_scores(PROBABILITIES, penalty=0.5, free_labels=1)

    doubt = 0.3  # 1 - 0.7
    by_hand = [0.7 + doubt * 0.2 + 0.5, doubt * 0.7, 0.9 + doubt * 0.1 + 1.0]
    np.testing.assert_allclose(scores[0], by_hand, atol=1e-6)


def test_a_likelier_label_is_never_out_where_a_less_likely_one_is_in() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(6, 0.4), 500).astype(np.float32)

    scores = conformal_scores(probabilities, penalty=0.0, free_labels=1)

    ranked = np.take_along_axis(scores, np.argsort(-probabilities, axis=1, kind="stable"), axis=1)
    assert (np.diff(ranked, axis=1) >= -1e-9).all()


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [(0.5, 0.1), (0.51, 0.5), (0.7, 0.5), (0.9, 0.5), (0.999, float("inf"))],
)
def test_a_coverage_between_two_entries_takes_the_higher_one(
    coverage: float, expected: float
) -> None:
    assert threshold(_sets((0.5, 0.9), (0.1, 0.5)), coverage) == expected


def test_a_set_that_the_threshold_leaves_empty_has_the_likeliest_label() -> None:
    sets = _sets((0.5, 0.9), (0.15, 0.15))

    within = within_threshold(PROBABILITIES, sets, 0.6)

    assert within.tolist() == [[False, False, False], [False, False, True]]
    assert members(PROBABILITIES, sets, 0.6).tolist() == [
        [False, True, False],
        [False, False, True],
    ]


def test_each_label_has_its_own_threshold_where_that_is_asked_for() -> None:
    own = PerLabelSets(
        n=(20, 20, 30), coverages=(0.8, 0.9), thresholds=((0, 0, 0), (0.8, 0, 0.05)), measured=()
    )
    sets = _sets((0.5, 0.9), (0.5, 0.5)).model_copy(update={"per_label": own})

    chosen = members(PROBABILITIES, sets, 0.85, per_label=True)

    assert chosen.tolist() == [[True, True, False], [False, False, True]]
    assert members(PROBABILITIES, sets, 0.95, per_label=True).all()


@pytest.mark.parametrize(
    "thresholds", [((0.1, 0.1),), ((0.1,), (0.2,)), ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3))]
)
def test_thresholds_that_are_not_for_each_coverage_and_label_are_refused(
    thresholds: tuple[tuple[float, ...], ...],
) -> None:
    with pytest.raises(ValidationError, match="must"):
        PerLabelSets(n=(20, 20), coverages=(0.8, 0.9), thresholds=thresholds, measured=())


@pytest.mark.parametrize("thresholds", [(0.5, 0.1), (0.1,)])
def test_a_table_that_does_not_ascend_is_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="must"):
        _sets((0.5, 0.9), thresholds)
