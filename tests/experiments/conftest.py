"""A few images for the experiments; importable where torch is not installed."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from training.data.dataset import Dataset


@pytest.fixture(scope="module")
def few(small_fashion: "Dataset") -> "Dataset":
    """64 images of 14 x 14 to learn from, 32 to test on."""
    return replace(
        small_fashion,
        train=small_fashion.train[:64],
        validation=small_fashion.validation[:8],
        test=small_fashion.test[:32],
    )
