"""The learning rate at each step of a run."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from training.recipe.recipe import Recipe

MIN_LR_RATIO = 1e-4
"""Share of the peak that the rate never falls below."""


def build_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LambdaLR:
    """Give each group's rate a warm-up, a decay and, where the recipe asks for it, a cooldown.

    The decay ends at nearly zero, or at the recipe's `final_lr_ratio`. A rate above zero with a
    long average of the weights replaces the last part of the decay: the rate at which the loss on
    unseen images is lowest is not zero (docs/training-log.md). A cooldown then goes to nearly zero.

    Args:
        optimizer: Its groups' rates are the peaks.
        recipe: The shape of the schedule.
        steps: Of the whole run.
    """
    cycle = max(1, round(steps * (1 - recipe.cooldown)))
    rise = min(max(1.0, recipe.warmup * cycle), float(cycle))

    def ratio(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        if recipe.cooldown and step >= cycle:
            fall = recipe.final_lr_ratio * (steps - step) / max(1, steps - cycle)
            return max(MIN_LR_RATIO, fall)
        left = max(MIN_LR_RATIO, (cycle - step) / max(1.0, cycle - rise))
        fall = left if recipe.schedule == "one_cycle" else (1 - math.cos(math.pi * left)) / 2
        return max(recipe.final_lr_ratio, fall)

    return LambdaLR(optimizer, ratio)
