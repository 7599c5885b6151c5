"""Muon and the schedules, against what NumPy's decomposition and plain SGD say."""

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import nn

from training.recipe.optim import Muon, orthogonalize
from training.recipe.presets import get_recipe
from training.recipe.schedule import build_schedule


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (8, 8)])
def test_orthogonalize_keeps_the_directions_and_levels_the_singular_values(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    levelled = orthogonalize(matrix)

    u, _, vt = np.linalg.svd(matrix.numpy(), full_matrices=False)
    inner = u.T @ levelled.numpy() @ vt.T  # diagonal, where the directions are kept
    assert levelled.shape == shape
    assert np.abs(inner - np.diag(np.diag(inner))).max() < 0.1
    values = np.linalg.svd(levelled.numpy(), compute_uv=False)
    before = np.linalg.svd(matrix.numpy(), compute_uv=False)
    assert values.max() < 1.3
    assert values.max() / values.min() < before.max() / before.min()


def test_a_turned_weight_keeps_its_norm_and_moves_by_the_share_asked_for() -> None:
    weight = nn.Parameter(torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(1)))
    before = weight.detach().clone()
    optimizer = Muon([{"params": [weight], "lr": 0.1, "orthogonal": True}])
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))

    optimizer.step()

    assert weight.norm().item() == pytest.approx(before.norm().item(), rel=1e-5)
    share = ((weight - before).norm() / before.norm()).item()
    assert share == pytest.approx(0.1, rel=0.1)


def test_a_weight_that_nothing_depends_on_stays_as_it_is() -> None:
    weight = nn.Parameter(torch.ones(4, 2, 3, 3))
    optimizer = Muon([{"params": [weight], "lr": 0.1, "orthogonal": True}])
    weight.grad = torch.zeros_like(weight)

    optimizer.step()

    assert torch.equal(weight, torch.ones(4, 2, 3, 3))


def test_other_groups_take_torchs_nesterov_steps() -> None:
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    mine = Muon([{"params": [ours], "lr": 0.2, "momentum": 0.9, "weight_decay": 0.01}])
    torchs = torch.optim.SGD([theirs], lr=0.2, momentum=0.9, weight_decay=0.01, nesterov=True)

    for step in range(5):
        gradient = torch.randn(5, 3, generator=torch.Generator().manual_seed(10 + step))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        torchs.step()

    torch.testing.assert_close(ours, theirs)


def test_muon_goes_on_from_its_saved_state() -> None:
    def weight_after(steps: int, saved_at: int | None) -> torch.Tensor:
        weight = nn.Parameter(torch.ones(4, 2, 3, 3))
        optimizer = Muon([{"params": [weight], "lr": 0.1, "orthogonal": True}])
        for step in range(steps):
            if step == saved_at:
                state = optimizer.state_dict()
                optimizer = Muon([{"params": [weight], "lr": 9.0, "orthogonal": True}])
                optimizer.load_state_dict(state)
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
            optimizer.step()
        return weight.detach()

    assert torch.equal(weight_after(6, saved_at=3), weight_after(6, saved_at=None))


def _rates(*changes: str, steps: int = 100) -> list[float]:
    """The rate of each step, with a peak of 2."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = build_schedule(optimizer, get_recipe("default", changes), steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_a_cycle_with_a_final_rate_falls_to_it_and_stays() -> None:
    rates = _rates("warmup=0.2", "final_lr_ratio=0.25")

    assert max(rates) == pytest.approx(2.0)
    assert all(np.diff(rates[20:80]) < 0)
    assert rates[80:] == [0.5] * 20


def test_a_cooldown_goes_from_the_final_rate_to_nothing_and_leaves_the_cycle_as_it_was() -> None:
    cycle = _rates("warmup=0.2", "final_lr_ratio=0.25")

    rates = _rates("warmup=0.2", "final_lr_ratio=0.25", "cooldown=0.2", steps=125)

    assert rates[:100] == cycle
    assert rates[100] == 0.5
    assert np.diff(rates[100:]) == pytest.approx(-0.02)  # 25 steps from there to nothing


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(schedule: str) -> None:
    rates = _rates("warmup=0.2", f"schedule={schedule}")

    assert int(np.argmax(rates)) == 20
    assert max(rates) == pytest.approx(2.0)
    assert all(np.diff(rates[:20]) > 0)
    assert all(np.diff(rates[20:]) < 0)
    assert 0 < rates[-1] < 0.05
    halfway = rates[60]
    assert halfway == pytest.approx(1.0, abs=0.02)  # by symmetry of both shapes
