"""Exact intervals of shares and of the area under a ROC curve."""

import torch
from scipy.stats import beta, betabinom
from torch import Tensor

INTERVAL = (0.025, 0.975)
"""The ends of a 95 % interval."""


def share_interval(count: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share that was counted on `n` images.

    Source:
        Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of
        the Binomial", 1934.
    """
    low = float(beta.ppf(INTERVAL[0], count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(INTERVAL[1], count + 1, n - count)) if count < n else 1.0
    return low, high


def rank_interval(rank: int, images: int, new: int | None = None) -> tuple[float, float]:
    """Return the 95 % interval of the share of new images up to the k-th of n scores.

    The share that lies under an order statistic has a beta distribution, whatever the scores'
    own is; the number among `new` images a beta-binomial one.

    Args:
        rank: k, from 1 on.
        images: n.
        new: How many new images are counted; None: the share in the long run.

    Source:
        David and Nagaraja, "Order Statistics", 3rd edition, 2003, chapter 2.
    """
    if new:
        ends = betabinom.ppf(INTERVAL, new, rank, images + 1 - rank) / new
    else:
        ends = beta.ppf(INTERVAL, rank, images + 1 - rank)
    return float(ends[0]), float(ends[1])


def auroc_interval(in_distribution: Tensor, ood: Tensor) -> tuple[float, float]:
    """Return the 95 % interval of the area under the ROC curve of scores (N,) and (M,).

    Source:
        DeLong et al., "Comparing the Areas under Two or More Correlated Receiver Operating
        Characteristic Curves", 1988.
    """
    parts = [_placements(in_distribution, ood), 1 - _placements(ood, in_distribution)]
    area = float(parts[0].mean())
    variance = sum(float(part.var(correction=1)) / len(part) for part in parts if len(part) > 1)
    half = 1.959963984540054 * variance**0.5
    return max(0.0, area - half), min(1.0, area + half)


def _placements(scores: Tensor, others: Tensor) -> Tensor:
    """Return the share of the others that lies below each score; of equals, half, (N,)."""
    ordered, sought = others.double().sort().values, scores.double()
    below = torch.searchsorted(ordered, sought) + torch.searchsorted(ordered, sought, right=True)
    return below / (2 * len(ordered))
