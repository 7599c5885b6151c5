"""Prediction sets hold the truth as often as wanted, whatever the probabilities are worth."""

import pytest

pytest.importorskip("torch")

import numpy as np
from numpy.typing import NDArray

from model.artifact.prediction_sets import members
from training.trust.conformal import REPORTED_COVERAGES, fit_sets, measure_sets

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]


def _sample(seed: int, count: int = 5_000, sharpness: float = 1.0) -> Sample:
    """Probabilities and truths drawn by them; `sharpness` other than 1 makes them lie."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(8, 0.15), count)
    targets = (true.cumsum(1) > rng.random((count, 1))).argmax(1)
    told = true**sharpness + 1e-9
    return (told / told.sum(1, keepdims=True)).astype(np.float32), targets.astype(np.int64)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_any_coverage_holds_on_images_never_seen(wanted: float, sharpness: float) -> None:
    sets = fit_sets(*_sample(0, sharpness=sharpness))
    probabilities, targets = _sample(1, 20_000, sharpness)

    held = members(probabilities, sets, wanted)[np.arange(len(targets)), targets].mean()

    assert held == pytest.approx(wanted, abs=0.02 if wanted < 0.95 else 0.01)


def test_what_was_measured_is_what_comes_out() -> None:
    sets = fit_sets(*_sample(0))
    probabilities, targets = _sample(1)

    measured = measure_sets(sets, probabilities, targets).measured

    assert tuple(coverage.wanted for coverage in measured) == REPORTED_COVERAGES
    for coverage in measured:
        chosen = members(probabilities, sets, coverage.wanted)
        assert coverage.mean_size == pytest.approx(chosen.sum() / len(targets))
        assert coverage.measured == pytest.approx(coverage.wanted, abs=0.015)


def test_too_few_images_for_a_coverage_give_all_labels() -> None:
    sets = fit_sets(*_sample(0, 50))
    probabilities, _ = _sample(1, 20)

    assert members(probabilities, sets, 0.999).all()
