"""The temperature against a brute-force search over a grid."""

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from training.calibrate import fit_temperature
from training.evaluate import Answers


def _honest(count: int, classes: int) -> Answers:
    """Targets that are drawn by the very probabilities of the logits."""
    dice = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, classes, generator=dice)
    targets = torch.multinomial(logits.softmax(1), 1, generator=dice)[:, 0]
    return Answers(logits, targets)


def _loss(answers: Answers, temperature: float) -> float:
    """Cross-entropy in plain NumPy."""
    logits = answers.logits.double().numpy() / temperature
    norm = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    chosen = logits[np.arange(len(logits)), answers.targets.numpy()]
    return float((norm - chosen).mean())


@pytest.mark.parametrize("factor", [0.2, 0.5, 1.0, 3.0, 8.0])
def test_the_temperature_undoes_a_factor_on_honest_logits(factor: float) -> None:
    answers = _honest(20_000, 5)

    temperature = fit_temperature(Answers(answers.logits * factor, answers.targets))

    assert temperature == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_no_temperature_of_a_grid_has_a_lower_loss(factor: float) -> None:
    answers = _honest(2_000, 5)
    scaled = Answers(answers.logits * factor, answers.targets)
    grid = np.geomspace(0.05, 20, 400)

    temperature = fit_temperature(scaled)

    best = min(grid, key=lambda candidate: _loss(scaled, candidate))
    assert temperature == pytest.approx(best, rel=0.02)
    assert _loss(scaled, temperature) <= _loss(scaled, best) + 1e-9


def test_answers_that_are_all_right_get_the_lowest_temperature_and_no_zero() -> None:
    logits = torch.eye(4).repeat(5, 1)
    targets = torch.arange(4).repeat(5)

    assert fit_temperature(Answers(logits, targets)) == pytest.approx(0.05, rel=0.01)


def test_answers_that_are_all_wrong_get_the_highest_temperature() -> None:
    logits = torch.eye(4).repeat(5, 1)
    targets = (torch.arange(4).repeat(5) + 1) % 4

    assert fit_temperature(Answers(logits, targets)) == pytest.approx(20, rel=0.01)
