"""The calibrator against honest logits, a brute-force search, and arithmetic by hand."""

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import Tensor

from training.trust import calibration as calibrate
from training.trust.calibration import METHODS, CalibrationData, choose, fit


def _honest(count: int, classes: int = 5, spread: float = 2.0) -> CalibrationData:
    """Targets that are drawn by the very probabilities of the logits."""
    rng = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(count, classes, generator=rng)
    targets = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    return CalibrationData(logits, torch.rand(count, classes, generator=rng), targets)


def _times(evidence: CalibrationData, factor: float | Tensor) -> CalibrationData:
    return CalibrationData(evidence.logits * factor, evidence.distances, evidence.targets)


def _loss(evidence: CalibrationData, temperature: float) -> float:
    """Cross-entropy in plain NumPy."""
    logits = evidence.logits.double().numpy() / temperature
    norm = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    chosen = logits[np.arange(len(logits)), evidence.targets.numpy()]
    return float((norm - chosen).mean())


@pytest.mark.parametrize("count", [1, 2, 6, 40])
def test_a_handful_of_right_answers_does_not_make_it_certain(count: int) -> None:
    logits = 4 * torch.eye(3)[torch.arange(count) % 3]
    evidence = CalibrationData(logits, torch.rand(count, 3), torch.arange(count) % 3)

    chosen = choose(evidence, "validation")

    assert chosen.record.method == "temperature"
    assert chosen.calibrator(logits.double(), evidence.distances.double()).max() < 0.999
    assert torch.isfinite(chosen.out_of_fold_probabilities(evidence)).all()


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_margins_beyond_those_that_were_fitted_change_nothing(slope: float) -> None:
    calibrator = fit(_honest(2_000), METHODS["margin"])
    calibrator.weights[0] = slope  # a fit may well come out so
    largest = float(calibrator.largest[0])
    logits = torch.tensor([[margin, 0.0, 0.0] for margin in (largest, 2 * largest, 400)]).double()

    probabilities = calibrator(logits, torch.zeros_like(logits))

    assert torch.isfinite(probabilities).all()
    assert (probabilities[:, 0].diff() >= 0).all()
    two = _honest(2_000).logits.topk(2, dim=1).values
    assert largest == pytest.approx(float((two[:, 0] - two[:, 1]).max()))


@pytest.mark.parametrize("factor", [0.2, 0.5, 1.0, 3.0, 8.0])
def test_the_temperature_undoes_a_factor_on_either_side_of_one(factor: float) -> None:
    temperature = fit(_times(_honest(20_000), factor), ()).temperature()

    assert temperature == pytest.approx(factor, rel=0.06)


def test_without_modesty_no_temperature_of_a_grid_has_a_lower_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibrate, "SCALE_SHRINK_Z", 0.0)
    evidence = _times(_honest(2_000), 2.5)
    grid = np.geomspace(0.05, 20, 400)

    temperature = fit(evidence, ()).temperature()

    best = min(grid, key=lambda candidate: _loss(evidence, candidate))
    assert temperature == pytest.approx(best, rel=0.02)


def test_modesty_moves_the_scale_by_its_interval_and_less_with_more_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved = []
    for count in (500, 8_000):
        evidence = _honest(count)
        modest = float(fit(evidence, ()).scale)
        with monkeypatch.context() as patch:
            patch.setattr(calibrate, "SCALE_SHRINK_Z", 0.0)
            moved.append(float(fit(evidence, ()).scale) - modest)

    # The bootstrap, an independent way to the standard error of the log scale.
    rng, scales = torch.Generator().manual_seed(1), []
    monkeypatch.setattr(calibrate, "SCALE_SHRINK_Z", 0.0)
    for _ in range(40):
        drawn = torch.randint(0, 500, (500,), generator=rng)
        scales.append(float(fit(_honest(500)[drawn], ()).scale))
    assert moved[0] == pytest.approx(1.96 * np.std(scales), rel=0.4)
    assert moved[1] == pytest.approx(moved[0] / 4, rel=0.25)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_probabilities_and_names_its_coefficients(method: str) -> None:
    evidence = _honest(300)

    calibrator = fit(evidence, METHODS[method])

    answers = calibrator(evidence.logits.double(), evidence.distances.double())
    torch.testing.assert_close(answers.sum(1), torch.ones(300, dtype=torch.float64))
    assert "scale" in calibrator.coefficients()
    assert (calibrator.temperature() is None) == (method != "temperature")


@pytest.mark.parametrize("method", METHODS)
def test_no_method_changes_the_likeliest_label(method: str) -> None:
    evidence = _times(_honest(2_000), 3.0)

    calibrator = fit(evidence, METHODS[method])

    others = 50 * torch.randn(2_000, 5, dtype=torch.float64)
    for logits in (evidence.logits.double(), others):
        answers = calibrator(logits, 100 * evidence.distances.double())
        assert torch.equal(answers.argmax(1), logits.argmax(1))


def test_labels_that_are_held_together_get_a_scale_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As label smoothing holds the wrong ones: one scale for all would misjudge the likeliest."""
    monkeypatch.setattr(calibrate, "SCALE_SHRINK_Z", 0.0)
    honest = _honest(20_000)
    ahead = honest.logits - honest.logits.topk(2, dim=1).values[:, 1:]
    squeezed = torch.where(ahead < 0, 0.25 * ahead, 2 * ahead)
    evidence = CalibrationData(squeezed, honest.distances, honest.targets)

    calibrator = fit(evidence, METHODS["margin"])

    answers = calibrator(squeezed.double(), honest.distances.double())
    torch.testing.assert_close(answers, honest.logits.double().softmax(1), atol=0.03, rtol=0)
    assert calibrator.coefficients()["rest"] == pytest.approx((np.log(4),), abs=0.1)


def test_images_far_from_all_labels_choose_a_method_that_knows_distances() -> None:
    plain = _honest(3_000)
    far = torch.arange(3_000) % 2 == 0  # of these nothing is known
    distances = plain.distances + 50 * far[:, None]
    targets = torch.where(far, torch.arange(3_000) % 5, plain.targets)

    chosen = choose(CalibrationData(plain.logits, distances, targets), "validation")

    assert "distance" in chosen.record.method
    assert chosen.record.n == 3_000


def test_plain_honest_logits_gain_next_to_nothing() -> None:
    tried = choose(_honest(3_000), "validation").record.cross_validated_nll

    assert min(tried.values()) > tried["temperature"] - 0.005


def test_each_image_is_answered_by_a_calibrator_that_did_not_see_it() -> None:
    evidence = _honest(200)
    chosen = choose(evidence, "validation")

    answers = chosen.out_of_fold_probabilities(evidence)

    number = int(chosen.fold[0])
    again = fit(evidence[chosen.fold != number], METHODS[chosen.record.method])
    expected = again(evidence.logits[:1].double(), evidence.distances[:1].double())
    torch.testing.assert_close(answers[:1].double(), expected, atol=1e-6, rtol=0)


def test_answers_that_are_all_right_still_get_finite_coefficients() -> None:
    targets = torch.arange(4).repeat(5)

    calibrator = fit(CalibrationData(torch.eye(4).repeat(5, 1), torch.zeros(20, 4), targets), ())

    assert np.isfinite(calibrator.temperature() or np.nan)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_method_that_runs_away_on_a_handful_of_images_does_not_compete(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(7, 3, generator=rng)
    distances = 1_000 * torch.rand(7, 3, generator=rng)
    evidence = CalibrationData(logits, distances, torch.randint(0, 3, (7,), generator=rng))

    chosen = choose(evidence, "validation")

    record = chosen.record
    assert record.method in record.cross_validated_nll
    assert "temperature" in record.cross_validated_nll
    assert np.isfinite(list(record.cross_validated_nll.values())).all()
    assert all(np.isfinite(values).all() for values in record.coefficients.values())
    assert chosen.out_of_fold_probabilities(evidence).isfinite().all()
