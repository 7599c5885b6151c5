"""The average of a run's weights that validation and the checkpoints take."""

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

YOUNG = 10
"""After n steps no more than (1 + n) / (10 + n) of the average is kept, as in TensorFlow's EMA."""


def kept(decay: float, count: int) -> float:
    """Give the share of the average that a step keeps.

    A decay of 0.99 remembers a hundred steps. In a run of thirty, on a small folder, most of
    such an average would be the weights of the first step, which know nothing.

    Args:
        decay: In the long run.
        count: Steps that are in the average.
    """
    return min(decay, (1 + count) / (YOUNG + count))


class MovingAverage(WeightAveraging):
    """Lightning's averaging, over a window that grows with the run up to the recipe's.

    Args:
        decay: Share of the average that a step keeps, in the long run.
    """

    def __init__(self, decay: float) -> None:
        """Average parameters, and the norms' statistics with them."""

        def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
            share = kept(decay, int(count))
            return share * averaged + (1 - share) * current

        super().__init__(avg_fn=torch.no_grad()(average))
