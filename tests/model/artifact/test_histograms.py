"""The summary of traffic: bins by hand."""

import numpy as np
import pytest
from pydantic import ValidationError

from model.artifact.histograms import brightness, deciles, histogram, shares
from model.artifact.trust import Histogram


def test_values_are_counted_below_between_and_above_the_edges() -> None:
    found = histogram(np.array([0.0, 1.0, 1.5, 2.0, 9.0]), (1.0, 2.0))

    assert found.shares == (0.2, 0.4, 0.4)


def test_no_values_give_no_shares() -> None:
    assert shares(np.array([]), (1.0,)).tolist() == [0.0, 0.0]


def test_deciles_hold_a_tenth_each_and_equal_ones_become_one() -> None:
    assert shares(np.arange(1000.0), deciles(np.arange(1000.0))).tolist() == [0.1] * 10
    assert deciles(np.zeros(50)) == (0.0,)


@pytest.mark.parametrize(("value", "expected"), [(0, 0.0), (255, 1.0), (51, 0.2)])
def test_brightness_is_the_mean_of_the_input(value: int, expected: float) -> None:
    assert brightness(np.full((2, 4, 4, 3), value, np.uint8)) == pytest.approx([expected] * 2)


def test_a_histogram_with_a_share_too_few_is_refused() -> None:
    with pytest.raises(ValidationError, match="one fewer"):
        Histogram(edges=(1.0, 2.0), shares=(0.5, 0.5))
