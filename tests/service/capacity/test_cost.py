"""The fit of a batch's cost, against lines that are known."""

import numpy as np
import pytest

from service.capacity.cost import Cost, Fit

SIZES = (1, 2, 4, 8, 16, 32)


def test_a_fit_to_a_line_is_that_line() -> None:
    fit = Fit.to(SIZES, [3e-3 + 5e-4 * size for size in SIZES])

    assert fit.cost == pytest.approx((3e-3, 5e-4))
    assert fit.low == pytest.approx(fit.cost) == fit.high
    assert fit.residual == pytest.approx(0, abs=1e-9)


def test_error_bars_hold_the_truth_in_nine_of_ten_measurements() -> None:
    random, truth, held = np.random.default_rng(0), Cost(1e-3, 4e-4), 0

    for _ in range(100):
        sizes = 3 * SIZES  # as many rounds as are measured
        noise = random.normal(1, 0.05, len(sizes))
        times = [truth.seconds(size) * each for size, each in zip(sizes, noise, strict=True)]
        fit = Fit.to(sizes, times)
        held += sum(a <= b <= c for a, b, c in zip(fit.low, truth, fit.high, strict=True))

    assert held > 0.9 * 2 * 100


def test_batches_of_one_size_cost_their_images_alone() -> None:
    fit = Fit.to([1, 1, 1.1], [0.04, 0.04, 0.044])

    assert fit.cost == pytest.approx((0, 0.04))


def test_a_batch_never_costs_less_than_nothing() -> None:
    fit = Fit.to([1, 2, 4], [1e-3, 3e-3, 8e-3])

    assert fit.cost.fixed_s == 0 <= fit.low.image_s
