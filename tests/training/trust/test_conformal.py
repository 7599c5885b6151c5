"""Prediction sets hold the truth as often as wanted, whatever the probabilities are worth."""

import pytest

pytest.importorskip("torch")

import numpy as np
from numpy.typing import NDArray

from model.artifact.prediction_sets import members
from model.artifact.trust import PredictionSets
from training.trust.conformal import REPORTED_COVERAGES, fit_sets, measure_sets

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]


def _sample(seed: int, count: int = 5_000, sharpness: float = 1.0) -> Sample:
    """Probabilities and truths drawn by them; `sharpness` other than 1 makes them lie."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(8, 0.15), count)
    targets = (true.cumsum(1) > rng.random((count, 1))).argmax(1)
    told = true**sharpness + 1e-9
    return (told / told.sum(1, keepdims=True)).astype(np.float32), targets.astype(np.int64)


def _fitted(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> PredictionSets:
    sets = fit_sets(probabilities, targets)
    assert sets is not None
    return sets


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_any_coverage_holds_on_images_never_seen(wanted: float, sharpness: float) -> None:
    sets = _fitted(*_sample(0, sharpness=sharpness))
    probabilities, targets = _sample(1, 20_000, sharpness)

    held = members(probabilities, sets, wanted)[np.arange(len(targets)), targets].mean()

    assert held == pytest.approx(wanted, abs=0.02 if wanted < 0.95 else 0.01)


def test_what_was_measured_is_what_comes_out() -> None:
    sets = _fitted(*_sample(0))
    probabilities, targets = _sample(1)

    measured = measure_sets(sets, probabilities, targets).measured

    assert tuple(coverage.wanted for coverage in measured) == REPORTED_COVERAGES
    for coverage in measured:
        chosen = members(probabilities, sets, coverage.wanted)
        assert coverage.mean_size == pytest.approx(chosen.sum() / len(targets))
        assert coverage.measured == pytest.approx(coverage.wanted, abs=0.015)


@pytest.mark.parametrize(("count", "highest"), [(19, 0.95), (50, 0.98), (184, 0.994), (999, 0.999)])
def test_the_table_ends_at_the_coverage_that_the_images_allow(count: int, highest: float) -> None:
    sets = _fitted(*_sample(0, count))
    probabilities, targets = _sample(1, 20)

    assert sets.coverages[-1] == highest
    assert members(probabilities, sets, highest + 0.0005).all() or highest == 0.999
    wanted = [coverage.wanted for coverage in measure_sets(sets, probabilities, targets).measured]
    assert wanted == [level for level in REPORTED_COVERAGES if level <= highest]


def test_a_single_image_makes_no_table() -> None:
    assert fit_sets(*_sample(0, 1)) is None
