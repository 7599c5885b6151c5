"""The loss over a rising learning rate, in a run that is thrown away.

Source:
    Smith, "Cyclical Learning Rates for Training Neural Networks", 2015 (arXiv 1506.01186).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything

from training.data.dataset import Dataset
from training.fit.setup import (
    begun_with,
    first_weights,
    fit_architecture,
    normalized,
    refuse_frozen,
)
from training.fit.trainer import throw_away_run
from training.plots.figures import TRAIN, VALIDATION
from training.recipe.recipe import Recipe
from training.runs.record import RunRecord

LOWEST, HIGHEST = 1e-5, 10.0

STEPS = 100

SMOOTH = 0.9
"""Share of the mean so far in the next: single batches jump."""

BROKEN = 4.0
"""Times the lowest loss so far, at which the run ends."""

SAFE = 0.1
"""Of the rate where the loss was lowest: there, it is about to break."""

FEWEST = 10
"""Steps under which a curve tells nothing."""


@dataclass(frozen=True)
class Curve:
    """Learning rates, ascending, and the smoothed loss at each."""

    rates: list[float]
    losses: list[float]

    def lowest(self) -> float:
        """Give the rate at which the loss was lowest.

        Raises:
            ValueError: If the loss broke, or never fell, before there was a curve.
        """
        place = int(np.argmin(self.losses)) if self.losses else 0
        if place < FEWEST:
            raise ValueError(
                f"The loss did not fall within {len(self.losses)} steps; try a larger batch_size."
            )
        return self.rates[place]

    def suggestion(self) -> float:
        """Give a rate at a safe distance from where the loss breaks loose.

        Raises:
            ValueError: If there is no telling.
        """
        return float(f"{SAFE * self.lowest():.2g}")


class _Ramp(Callback):
    """Raises the learning rate at each step, over whatever the schedule says."""

    def __init__(self, recipe: Recipe) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._recipe = recipe
        self._shares: list[float] = []
        self._mean = 0.0

    def on_train_start(self, trainer: Trainer, _: LightningModule) -> None:
        """Note what share of the rate each group of weights has."""
        groups = trainer.optimizers[0].param_groups
        peaks = [
            group.get("initial_lr", group["lr"]) for group in groups
        ]  # before a schedule's rise
        self._shares = [peak / self._recipe.learning_rate for peak in peaks]

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        rate = LOWEST * (HIGHEST / LOWEST) ** (len(self.rates) / (STEPS - 1))
        for group, share in zip(trainer.optimizers[0].param_groups, self._shares, strict=True):
            group["lr"] = rate * share
        self.rates.append(rate)

    def on_before_backward(self, trainer: Trainer, _: LightningModule, loss: Any) -> None:
        """Note the smoothed loss; end where it is broken."""
        count = len(self.rates)
        self._mean = SMOOTH * self._mean + (1 - SMOOTH) * loss.item()
        smooth = self._mean / (1 - SMOOTH**count)
        if not math.isfinite(smooth) or smooth > BROKEN * min(self.losses, default=math.inf):
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
    tell: Callable[[str], None] = print,
) -> Curve:
    """Train a throw-away network with a rising learning rate, as the recipe's run would begin.

    Args:
        dataset: Its training split is read, over and over where it is small.
        recipe: All but the learning rate is taken from it.
        seed: Of the weights and the order.
        init: Weights to begin with, from a file of any origin.
        tell: Hears what became of each key of `init`, a line each.

    Raises:
        TrainingError: If the recipe does not fit the pictures or the weights.
        WeightsError: If `init` cannot be read, or none of it fits.
    """
    dataset = normalized(dataset, recipe)
    start = None if init is None else first_weights(init, recipe, tell)
    if start is None:
        refuse_frozen(recipe)
    record = RunRecord.of(dataset, recipe, fit_architecture(recipe, dataset, start), seed, init)
    seed_everything(seed, verbose=False)
    ramp = _Ramp(recipe)
    throw_away_run(dataset, begun_with(start, record, tell), ramp, STEPS)
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
