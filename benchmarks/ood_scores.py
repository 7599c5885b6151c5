"""Scores of out-of-distribution detection beside those that an export offers, in torch.

Each is fitted on features of training images, and gives one number for each image: the higher,
the more it is like them. Features are those that the head reads, never negative.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.trust.ood import SCORES, Distances
from training.trust.ood import Score as Offered

Score = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, K) and features (N, F) -> (N,)."""
NEIGHBOURS = 50
CLIPPED, PRUNED = 0.9, 0.65
"""Quantile of the training features that ReAct clips at; share of each image that ASH zeroes."""


def offered(features: Tensor, targets: Tensor, classes: int) -> dict[str, Score]:
    """Fit the scores of `training.trust.ood`."""
    distances = Distances(features, targets, classes)

    def of(score: Offered) -> Score:
        return lambda logits, seen: score(logits, seen, distances(seen))

    return {name: of(Offered(name, features, targets, classes)) for name in SCORES}


def others(features: Tensor, head: nn.Linear) -> dict[str, Score]:
    """Fit the scores that an export does not offer."""
    energy = (features @ head.weight.T + head.bias).logsumexp(1)
    residual = _residual(features, head)
    scale = float(energy.mean() / residual(features).mean())
    limit = float(features.flatten()[:: max(1, features.numel() // 1_000_000)].quantile(CLIPPED))

    def energy_of(changed: Tensor) -> Tensor:
        return nn.functional.linear(changed, head.weight, head.bias).logsumexp(1)

    return {
        "knn": _neighbours(features),
        "residual": lambda _, seen: -residual(seen),
        "vim": lambda logits, seen: logits.logsumexp(1) - scale * residual(seen),
        "react": lambda _, seen: energy_of(seen.clamp(max=limit)),
        "ash": lambda _, seen: energy_of(shaped(seen)),
    }


def _neighbours(features: Tensor) -> Score:
    """Minus the distance to the k-th nearest training image, on the unit sphere.

    Source:
        Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022
        (arXiv 2204.06507).
    """
    known = nn.functional.normalize(features, dim=1)

    def score(_: Tensor, seen: Tensor) -> Tensor:
        cosines = nn.functional.normalize(seen, dim=1) @ known.T
        nearest = cosines.topk(min(NEIGHBOURS, len(known)), dim=1).values[:, -1]
        return -(2 - 2 * nearest).clamp(min=0).sqrt()

    return score


def _residual(features: Tensor, head: nn.Linear) -> Callable[[Tensor], Tensor]:
    """Return the length of features (N, F) outside the space that training images fill, (N,).

    Source:
        Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", 2022
        (arXiv 2203.10807): the origin is where all logits are equal.
    """
    origin = -torch.linalg.pinv(head.weight.double()) @ head.bias.double()
    centred = features.double() - origin
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
    width = features.shape[1]
    kept = min(width - 1, max(width // 2, head.out_features))
    outside = directions[:, : width - kept]
    return lambda seen: ((seen.double() - origin) @ outside).norm(dim=1).float()


def shaped(features: Tensor) -> Tensor:
    """Keep the largest features of each image, and scale them by what was cut off.

    Source:
        Djurisic et al., "Extremely Simple Activation Shaping for Out-of-Distribution Detection",
        2023 (arXiv 2209.09858), version ASH-S.
    """
    kept = max(1, round(features.shape[1] * (1 - PRUNED)))
    largest = features.topk(kept, dim=1)
    pruned = torch.zeros_like(features).scatter(1, largest.indices, largest.values)
    before, after = features.sum(1, keepdim=True), pruned.sum(1, keepdim=True)
    return pruned * (before / after.clamp(min=1e-12)).clamp(max=50).exp()
