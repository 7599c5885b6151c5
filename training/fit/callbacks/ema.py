"""The exponential moving average of a run's weights, which validation and checkpoints use."""

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

WARMUP_STEPS = 10
"""After n steps at most (1 + n) / (10 + n) of the average is kept, as in TensorFlow's EMA."""


def ema_decay_at(decay: float, step: int) -> float:
    """Give the share of the average that a step keeps.

    A decay of 0.99 remembers a hundred steps. In a run of thirty, on a small folder, most of
    such an average would be the random weights of the first step.

    Args:
        decay: In the long run.
        step: How many steps are in the average.
    """
    return min(decay, (1 + step) / (WARMUP_STEPS + step))


class MovingAverage(WeightAveraging):
    """Lightning's averaging, over a window that grows with the run up to the recipe's.

    It averages parameters, and the norms' statistics with them.

    Args:
        decay: Share of the average that a step keeps, in the long run.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        super().__init__(avg_fn=self.average)

    @torch.no_grad()
    def average(self, averaged: Tensor, current: Tensor, step: Tensor | int) -> Tensor:
        """Give the new average of a weight.

        Args:
            averaged: Its average so far.
            current: Its value after the step.
            step: How many steps are in the average.
        """
        share = ema_decay_at(self.decay, int(step))
        return share * averaged + (1 - share) * current
