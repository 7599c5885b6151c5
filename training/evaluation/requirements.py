"""What a pipeline may ask of an evaluation: `top1=0.9`, and others."""

import math
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from training.evaluation.metrics import Evaluation, reliability
from training.evaluation.predict import Predictions

AT_LEAST = ("top1", "top5", "balanced", "worst_label", "n")
AT_MOST = ("nll", "ece", "brier")
LARGEST = {"n": math.inf, "nll": math.inf, "brier": 2.0}
"""What a figure can be at most; all others are shares."""


class Requirement(NamedTuple):
    """A figure, and the value that it must reach or not exceed."""

    name: str
    value: float

    def failure(self, figures: dict[str, float]) -> str:
        """Say how it is missed; empty if it is met."""
        found = figures[self.name]
        is_met = found >= self.value if self.name in AT_LEAST else found <= self.value
        rule = "at least" if self.name in AT_LEAST else "at most"
        return "" if is_met else f"{self.name} is {found:.4g}; it must be {rule} {self.value:g}"


def read_requirements(given: Sequence[str]) -> list[Requirement]:
    """Read NAME=VALUE pairs.

    Raises:
        ValueError: If a name is not known, or a value is none that the figure can have.
    """
    found = []
    for pair in given:
        name, _, text = (part.strip() for part in pair.partition("="))
        if name not in AT_LEAST + AT_MOST:
            names = ", ".join(AT_LEAST + AT_MOST)
            raise ValueError(f"{pair!r} must be NAME=VALUE, such as top1=0.9; names are {names}")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        most = LARGEST.get(name, 1.0)
        if not (0 <= value <= most and math.isfinite(value)):
            bounds = f"between 0 and {most:g}" if math.isfinite(most) else "of 0 or more"
            is_percent = most == 1 and 1.5 <= value <= 100
            hint = f", not a percentage: {name}={value / 100:g}" if is_percent else ""
            raise ValueError(f"{pair!r}: {name} must be a number {bounds}{hint}")
        found.append(Requirement(name, value))
    return found


def figures_of(evaluation: Evaluation, predictions: Predictions) -> dict[str, float]:
    """Give the figures by the names that requirements have."""
    per_label = [share for share in evaluation.per_label.values() if share is not None]
    return {
        "top1": evaluation.top1,
        "top5": evaluation.top5,
        "balanced": mean(per_label),
        "worst_label": min(per_label),
        "n": evaluation.n,
        "nll": evaluation.loss,
        "ece": evaluation.ece,
        "brier": reliability(predictions.calibrated(), predictions.targets).brier,
    }
