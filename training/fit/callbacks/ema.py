"""The exponential moving average of a run's weights, which validation and checkpoints use."""

from collections.abc import Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from training.fit.lightning_internals import averaged_model

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

    It averages parameters, and the norms' statistics with them, where the weights are.

    Args:
        decay: Share of the average that a step keeps, in the long run.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._step = 0
        super().__init__(multi_avg_fn=self.average)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the average on the device that trains, and the count of its steps on the host.

        Lightning takes the module's device, which is the CPU until the strategy moves it after
        this hook; torch reads the count at each step, and would wait for a GPU.
        """
        pl_module.to(trainer.strategy.root_device)
        super().setup(trainer, pl_module, stage)
        average = averaged_model(self)
        if average is not None:
            average.n_averaged = average.n_averaged.cpu()

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:  # noqa: ARG002
        """Average after each step, all of which are counted here."""
        if step_idx is not None:
            self._step = step_idx
        return step_idx is not None

    def average(self, averaged: Sequence[Tensor], current: Sequence[Tensor], _: Any) -> None:
        """Move the averages of many weights towards their values after the step, in place.

        Args:
            averaged: Their averages so far.
            current: Their values after the step.
        """
        move = get_ema_multi_avg_fn(ema_decay_at(self.decay, self._step))  # type: ignore[no-untyped-call]
        move(averaged, current, _)
