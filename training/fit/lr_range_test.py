"""The loss over a rising learning rate, in a run that is thrown away.

Source:
    Smith, "Cyclical Learning Rates for Training Neural Networks", 2015 (arXiv 1506.01186).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer

from training.data.dataset import Dataset
from training.fit.first_weights import FirstWeights
from training.fit.setup import (
    build_module,
    check_backbone_learns,
    fit_architecture,
    fit_dataset,
)
from training.fit.trainer import run_throw_away_steps
from training.plots.figures import TRAIN, VALIDATION
from training.recipe.recipe import Recipe
from training.runs.record import RunRecord

MIN_LR, MAX_LR = 1e-5, 10.0

STEPS = 100

LOSS_SMOOTHING = 0.9
"""Share of the mean so far in the next: single batches jump."""

DIVERGED_AT = 4.0
"""Times the lowest loss so far, at which the run ends."""

SUGGESTED_SHARE = 0.1
"""Of the rate where the loss was lowest: there, it is about to diverge."""

MIN_CURVE_STEPS = 10
"""A shorter curve is not used."""


@dataclass(frozen=True)
class Curve:
    """Learning rates, ascending, and the smoothed loss at each."""

    rates: list[float]
    losses: list[float]

    def lowest(self) -> float:
        """Give the rate at which the loss was lowest.

        Raises:
            ValueError: If the loss diverged, or never fell, before there was a curve.
        """
        position = int(np.argmin(self.losses)) if self.losses else 0
        if position < MIN_CURVE_STEPS:
            raise ValueError(
                f"The loss did not fall within {len(self.losses)} steps, so it gives "
                "no learning rate. Keep the recipe's, or start from pre-trained "
                "weights with --init."
            )
        return self.rates[position]

    def suggestion(self) -> float:
        """Give a rate at a safe distance from where the loss diverges.

        Raises:
            ValueError: If the curve does not show it.
        """
        return float(f"{SUGGESTED_SHARE * self.lowest():.2g}")


class _Ramp(Callback):
    """Raises the learning rate at each step, whatever the schedule."""

    def __init__(self, recipe: Recipe) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._recipe = recipe
        self._shares: list[float] = []
        self._mean = 0.0

    def on_train_start(self, trainer: Trainer, _: LightningModule) -> None:
        """Note what share of the rate each group of weights has."""
        groups = trainer.optimizers[0].param_groups
        # A schedule's warm-up has changed `lr` by now, but not `initial_lr`.
        peaks = [group.get("initial_lr", group["lr"]) for group in groups]
        self._shares = [peak / self._recipe.learning_rate for peak in peaks]

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        rate = MIN_LR * (MAX_LR / MIN_LR) ** (len(self.rates) / (STEPS - 1))
        for group, share in zip(trainer.optimizers[0].param_groups, self._shares, strict=True):
            group["lr"] = rate * share
        self.rates.append(rate)

    def on_before_backward(self, trainer: Trainer, _: LightningModule, loss: Any) -> None:
        """Note the smoothed loss; end where it diverges."""
        count = len(self.rates)
        self._mean = LOSS_SMOOTHING * self._mean + (1 - LOSS_SMOOTHING) * loss.item()
        smooth = self._mean / (1 - LOSS_SMOOTHING**count)
        if not math.isfinite(smooth) or smooth > DIVERGED_AT * min(self.losses, default=math.inf):
            self.rates.pop()
            trainer.should_stop = True
            return
        self.losses.append(smooth)


def find_learning_rate(
    dataset: Dataset,
    recipe: Recipe,
    seed: int = 0,
    *,
    init: Path | None = None,
) -> Curve:
    """Train a throw-away network with a rising learning rate, as the recipe's run would begin.

    Args:
        dataset: Its training split is read, over and over where it is small.
        recipe: All but the learning rate is taken from it.
        seed: Of the weights and the order.
        init: First weights, from a file of any origin.

    Raises:
        TrainingError: If the recipe does not fit the images or the weights.
        WeightsError: If `init` cannot be read, or none of it fits.
    """
    dataset = fit_dataset(dataset, recipe)
    start = None if init is None else FirstWeights.read(init, recipe)
    if start is None:
        check_backbone_learns(recipe)
    record = RunRecord.of(dataset, recipe, fit_architecture(recipe, dataset, start), seed, init)
    ramp = _Ramp(recipe)
    run_throw_away_steps(dataset, build_module(record, start), ramp, STEPS)
    return Curve(ramp.rates[: len(ramp.losses)], ramp.losses)


def draw_curve(curve: Curve, suggestion: float, out: Path) -> None:
    """Draw the loss over the learning rate, and the rate that is suggested."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color=TRAIN)
    axes.axvline(suggestion, color=VALIDATION, linestyle="--", label=f"{suggestion:g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=120)
