"""Prediction sets hold the truth as often as wanted, whatever the probabilities are worth."""

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from model.artifact.prediction_sets import members, within_threshold
from model.artifact.trust import Coverage, PredictionSets
from training.trust.conformal import REPORTED_COVERAGES, Answers, fit_sets, measure_sets
from training.trust.intervals import auroc_interval, rank_interval, share_interval
from training.trust.ood import auroc


def _sample(seed: int, count: int = 5_000, sharpness: float = 1.0) -> Answers:
    """Probabilities and truths drawn by them; `sharpness` other than 1 makes them lie."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(8, 0.15), count)
    targets = (true.cumsum(1) > rng.random((count, 1))).argmax(1)
    told = true**sharpness + 1e-9
    return Answers((told / told.sum(1, keepdims=True)).astype(np.float32), targets.astype(np.int64))


def _fitted(calibrates: Answers, split: str = "calibration") -> PredictionSets:
    sets = fit_sets(_sample(9, 200), calibrates, split)
    assert sets is not None
    return sets


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_any_coverage_holds_on_images_never_seen(wanted: float, sharpness: float) -> None:
    sets = _fitted(_sample(0, sharpness=sharpness))
    probabilities, targets = _sample(1, 20_000, sharpness)
    rows = np.arange(len(targets)), targets

    held = within_threshold(probabilities, sets, wanted)[rows].mean()
    served = members(probabilities, sets, wanted)

    assert held == pytest.approx(wanted, abs=0.02 if wanted < 0.95 else 0.01)
    assert served.any(axis=1).all()  # no set is empty
    assert served[rows].mean() >= held


def test_the_interval_of_coverage_is_what_draws_of_scores_give() -> None:
    rng = np.random.default_rng(0)
    calibrates = np.sort(rng.random((20_000, 99)), axis=1)
    covered = (rng.random((20_000, 50)) <= calibrates[:, [95 - 1]]).mean(1)

    low, high = rank_interval(95, 99, 50)

    assert (covered < low).mean() <= 0.025 + 0.004
    assert (covered > high).mean() <= 0.025 + 0.004
    assert ((covered <= low) | (covered >= high)).mean() > 0.05  # no wider than it must be
    assert rank_interval(95, 99)[0] == pytest.approx(
        np.quantile(calibrates[:, 94], 0.025), abs=2e-3
    )


@pytest.mark.parametrize(
    ("count", "n", "ends"),
    [(0, 10, (0.0, 0.3085)), (5, 10, (0.1871, 0.8129)), (10, 10, (0.6915, 1.0))],
)
def test_the_exact_interval_of_a_share_is_the_published_one(
    count: int, n: int, ends: tuple[float, float]
) -> None:
    assert share_interval(count, n) == pytest.approx(ends, abs=5e-5)


def test_the_interval_of_an_auroc_is_what_repeats_scatter_by() -> None:
    rng = torch.Generator().manual_seed(0)
    drawn = [
        (torch.randn(150, generator=rng).round(decimals=1) + 1, torch.randn(80, generator=rng))
        for _ in range(200)
    ]
    areas = torch.tensor([auroc(known, ood) for known, ood in drawn])
    ends = torch.tensor([auroc_interval(known, ood) for known, ood in drawn])

    assert torch.allclose(ends.mean(1), areas, atol=1e-5)
    half_width = 1.96 * float(areas.std())
    assert float((ends[:, 1] - ends[:, 0]).mean() / 2) == pytest.approx(half_width, rel=0.15)


def test_what_was_measured_is_what_comes_out() -> None:
    sets = _fitted(_sample(0))
    sample = _sample(1)
    probabilities, targets = sample

    measured = measure_sets(sets, sample).measured

    assert tuple(coverage.wanted for coverage in measured) == REPORTED_COVERAGES
    for coverage in measured:
        chosen = members(probabilities, sets, coverage.wanted)
        hits = chosen[np.arange(len(targets)), targets]
        assert coverage.mean_size == pytest.approx(chosen.sum() / len(targets))
        assert coverage.measured == pytest.approx(hits.mean())
        assert coverage.interval == share_interval(int(hits.sum()), len(targets))
        assert coverage.per_label is not None
        assert coverage.per_label[3] == pytest.approx(hits[targets == 3].mean())


def _lowest(coverage: Coverage) -> float:
    assert coverage.per_label is not None
    return min(share for share in coverage.per_label if share is not None)


def test_thresholds_per_label_cover_each_label_where_common_ones_do_not() -> None:
    def of(seed: int) -> Answers:
        sample = _sample(seed, 10_000)
        told = sample.probabilities.copy()
        told[:, 0] /= 5  # a label that the network overlooks
        return Answers(told / told.sum(1, keepdims=True), sample.targets)

    sets = measure_sets(_fitted(of(0)), of(1))

    assert sets.per_label is not None
    common, own = (_lowest(each) for each in (sets.measured[0], sets.per_label.measured[0]))
    assert common < 0.8
    assert own == pytest.approx(0.9, abs=0.02)


def test_there_are_no_thresholds_per_label_if_a_label_has_too_few_images() -> None:
    sample = _sample(0, 400)
    kept = (sample.targets != 2) | (np.cumsum(sample.targets == 2) <= 18)

    assert _fitted(sample).per_label is not None
    assert _fitted(Answers(sample.probabilities[kept], sample.targets[kept])).per_label is None


def test_nothing_is_promised_where_the_validation_split_set_the_thresholds() -> None:
    sets = measure_sets(_fitted(_sample(0), "validation"), _sample(1))

    assert [one.expected for one in sets.measured] == [None] * 3


@pytest.mark.parametrize(("count", "highest"), [(19, 0.95), (50, 0.98), (184, 0.994), (999, 0.999)])
def test_the_table_ends_at_the_coverage_that_the_images_allow(count: int, highest: float) -> None:
    sets = _fitted(_sample(0, count))
    sample = _sample(1, 20)

    assert sets.coverages[-1] == highest
    assert members(sample.probabilities, sets, highest + 0.0005).all() or highest == 0.999
    wanted = [coverage.wanted for coverage in measure_sets(sets, sample).measured]
    assert wanted == [level for level in REPORTED_COVERAGES if level <= highest]


def test_a_single_image_makes_no_table() -> None:
    assert fit_sets(_sample(1), _sample(0, 1), "calibration") is None
