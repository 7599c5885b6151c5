"""Compare the results with the claims, by the figures alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from experiments.figures import mean_and_spread, percent

Claim = tuple[str, Literal["lower", "not higher", "higher"], str]
"""An arm, how its figure is claimed to compare, and the arm that it is compared with."""

STANDARD_ERRORS = 2.0
"""Two means differ if they are this far apart, in standard errors of their difference."""


def judge(
    values: Mapping[str, Sequence[float]],
    quantity: str,
    claims: Sequence[Claim],
    write: Callable[[Sequence[float]], str] = percent,
) -> str:
    """Write a list in Markdown: each claim with both figures and the verdict.

    Args:
        values: Of each arm, over the seeds.
        quantity: Name of the values.
        claims: Those about arms that were not run are left out.
        write: Formats the values of an arm.
    """
    lines = []
    for ours, relation, theirs in claims:
        if not (values.get(ours) and values.get(theirs)):
            continue
        outcome = _outcome(values[ours], relation, values[theirs])
        figures = f"{write(values[ours])} against {write(values[theirs])}"
        lines.append(f"- {quantity} of {ours} {relation} than of {theirs}: {figures}: {outcome}.")
    return "\n".join(lines)


def _outcome(ours: Sequence[float], relation: str, theirs: Sequence[float]) -> str:
    if min(len(ours), len(theirs)) < 2:
        return "one seed, not judged"
    (our_mean, our_spread), (their_mean, their_spread) = map(mean_and_spread, (ours, theirs))
    error = math.sqrt(our_spread**2 / len(ours) + their_spread**2 / len(theirs))
    is_apart = abs(our_mean - their_mean) > STANDARD_ERRORS * error
    is_higher = our_mean > their_mean
    if relation == "not higher":
        return "**contradicted**" if is_apart and is_higher else "confirmed"
    if not is_apart:
        return "inconclusive with these seeds"
    return "confirmed" if is_higher == (relation == "higher") else "**contradicted**"
