"""The calibrator against honest logits, a brute-force search, and arithmetic by hand."""

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import Tensor

from training.trust.calibration import CalibrationData, choose, fit
from training.trust.calibrator import METHODS, bounded_softmax


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

    assert chosen.record.method in {"softmax", "temperature"}
    answers = chosen.calibrator(logits.double(), evidence.distances.double())
    assert answers.max() <= max(0.75, 1 - 3 / count) + 1e-9
    assert torch.isfinite(chosen.out_of_fold_probabilities(evidence)).all()


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_margins_beyond_those_that_were_fitted_change_nothing(slope: float) -> None:
    calibrator = fit(_honest(2_000), ("margin",))
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


def test_no_temperature_of_a_grid_has_a_lower_loss() -> None:
    evidence = _times(_honest(2_000), 2.5)
    grid = np.geomspace(0.05, 20, 400)

    temperature = fit(evidence, ()).temperature()

    best = min(grid, key=lambda candidate: _loss(evidence, candidate))
    assert temperature == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_probabilities_and_names_its_coefficients(method: str) -> None:
    evidence = _honest(300)

    calibrator = fit(evidence, METHODS[method])

    answers = calibrator(evidence.logits.double(), evidence.distances.double())
    torch.testing.assert_close(answers.sum(1), torch.ones(300, dtype=torch.float64))
    assert "scale" in calibrator.coefficients()
    assert (calibrator.temperature() is None) == bool(METHODS[method])


@pytest.mark.parametrize("method", METHODS)
def test_no_method_changes_the_likeliest_label(method: str) -> None:
    evidence = _times(_honest(2_000), 3.0)

    calibrator = fit(evidence, METHODS[method])

    others = 50 * torch.randn(2_000, 5, dtype=torch.float64)
    for logits in (evidence.logits.double(), others):
        answers = calibrator(logits, 100 * evidence.distances.double())
        assert torch.equal(answers.argmax(1), logits.argmax(1))


def test_labels_that_are_held_together_get_a_scale_of_their_own() -> None:
    """As label smoothing holds the wrong ones: one scale for all would misjudge the likeliest."""
    honest = _honest(20_000)
    ahead = honest.logits - honest.logits.topk(2, dim=1).values[:, 1:]
    squeezed = torch.where(ahead < 0, 0.25 * ahead, 2 * ahead)
    evidence = CalibrationData(squeezed, honest.distances, honest.targets)

    calibrator = fit(evidence, ("margin",))

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
    evidence = _times(_honest(200), 3.0)
    chosen = choose(evidence, "validation")

    answers = chosen.out_of_fold_probabilities(evidence)

    number = int(chosen.fold[0])
    others = evidence[chosen.fold != number]
    assert chosen.record.method == "temperature"
    again = fit(others, (), limit=1 - 3 / 200)
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


def _all_right(count: int, classes: int, margin: float) -> CalibrationData:
    """Label smoothing's outcome: every answer right, none of them sure."""
    rng = torch.Generator().manual_seed(0)
    targets = torch.randint(0, classes, (count,), generator=rng)
    logits = margin * torch.eye(classes)[targets]
    logits += 0.5 * torch.randn(count, classes, generator=rng)
    return CalibrationData(logits, torch.rand(count, classes, generator=rng), targets)


def test_a_split_without_a_wrong_answer_gives_the_confidence_of_the_rule_of_three() -> None:
    evidence = _all_right(184, 10, 5.0)

    chosen = choose(evidence, "validation")

    answers = chosen.calibrator(10 * evidence.logits, evidence.distances)
    assert set(chosen.record.cross_validated_nll) == {"softmax", "temperature"}
    assert (chosen.record.wrong, chosen.record.max_probability) == (0, 1 - 3 / 184)
    assert answers.max() == pytest.approx(1 - 3 / 184, abs=1e-6)
    # Laplace's rule of succession: after n right answers the next is right with 1 - 1 / (n + 2).
    fitted = fit(evidence, ())
    confidence = fitted(evidence.logits.double(), evidence.distances.double()).amax(1).mean()
    assert float(1 - confidence) == pytest.approx(1 / 186, rel=0.5)


@pytest.mark.parametrize(("wrong", "methods"), [(59, 2), (60, 3)])
def test_methods_with_terms_compete_only_with_many_wrong_answers(wrong: int, methods: int) -> None:
    evidence = _all_right(400, 5, 6.0)
    targets = evidence.targets.clone()
    targets[:wrong] = (targets[:wrong] + 1) % 5

    chosen = choose(CalibrationData(evidence.logits, evidence.distances, targets), "validation")

    assert chosen.record.wrong == wrong
    assert len(chosen.record.cross_validated_nll) == methods


@pytest.mark.parametrize("limit", [0.75, 0.9837, 1.0])
@pytest.mark.parametrize("classes", [2, 10, 1_000])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 3_000.0])
def test_no_probability_saturates_and_none_changes_places(
    limit: float, classes: int, spread: float
) -> None:
    logits = spread * torch.randn(200, classes, generator=torch.Generator().manual_seed(0))

    answers = bounded_softmax(logits, limit)

    assert answers.dtype == torch.float32
    assert answers.min() > 0
    assert answers.max() < 1
    assert answers.max() <= max(limit, 1 / classes) + 1e-6
    torch.testing.assert_close(answers.sum(1), torch.ones(200))
    if spread and classes < 1_000:  # of a thousand some differ by less than float32 resolves
        assert torch.equal(answers.argsort(dim=1, stable=True), logits.argsort(dim=1, stable=True))
    assert (answers.gather(1, logits.argsort(1)).diff() >= 0).all()


def test_answers_under_the_limit_are_those_of_the_softmax() -> None:
    logits = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))

    answers = bounded_softmax(logits, 0.99)

    torch.testing.assert_close(answers, logits.softmax(1), atol=2e-6, rtol=0)


def test_a_calibrator_that_is_left_out_answers_as_the_plain_softmax_does() -> None:
    evidence = _all_right(184, 10, 5.0)
    chosen = choose(evidence, "validation").uncalibrated("it did harm")

    answers = chosen.calibrator(evidence.logits, evidence.distances).float()

    torch.testing.assert_close(answers, evidence.logits.softmax(1), atol=2e-6, rtol=0)
    torch.testing.assert_close(chosen.out_of_fold_probabilities(evidence), answers)
    assert (chosen.record.method, chosen.record.left_out) == ("softmax", "it did harm")
    assert chosen.calibrator.temperature() == 1
