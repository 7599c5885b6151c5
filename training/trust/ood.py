"""Choose the score that tells strange pictures from those the network was made for.

Held against each other: the largest logit, the energy, the cosine to the nearest label's
mean feature, and the Mahalanobis distance to it. What chooses is made of the validation
split (noise, inverted, shuffled pictures); what is reported is the test split against
sets that chose nothing.

Source:
    Liu et al., 2020 (arXiv 2010.03759) for the energy; Hendrycks et al., 2022
    (arXiv 1911.11132) for the largest logit; Lee et al., 2018 (arXiv 1807.03888) for the
    Mahalanobis distance.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from model.artifact.trust import OodFigures, OodSet

ACCEPTED = 0.95
"""Share of the validation split that the threshold lets pass."""
MAX_RANK = 256
"""Directions whitened one by one; 2,048 of them would weigh 16 MB in the graph."""
RIDGE = 1e-3


class Distances(nn.Module):
    """Features (N, F) -> squared Mahalanobis distances to the labels' means, per feature, (N, K).

    The covariance is shared by all labels. Beyond `MAX_RANK` directions the rest counts
    with its mean variance, from the mean of all pictures.

    Args:
        features: Of training pictures, (M, F).
        targets: Their labels, (M,).
        classes: Labels; one without a picture gets the mean of all.
    """

    def __init__(self, features: Tensor, targets: Tensor, classes: int) -> None:
        """Fit means and covariance, in double precision."""
        super().__init__()
        exact = features.double()
        overall = exact.mean(0)
        means = overall.repeat(classes, 1)
        for label in sorted(set(targets.tolist())):
            means[label] = exact[targets == label].mean(0)
        centred = exact - means[targets]
        covariance = centred.T @ centred / len(exact)
        width = exact.shape[1]
        # Never 0, as one picture of each label would have it: no distance could be told then.
        ridge = (RIDGE * covariance.trace() / width).clamp_min(1e-12)
        covariance += ridge * torch.eye(width, dtype=torch.float64)
        variances, directions = torch.linalg.eigh(covariance)  # ascending
        rank = min(width, MAX_RANK)
        whiten = directions[:, -rank:] / variances[-rank:].sqrt()  # (F, rank)
        self.register_buffer("overall", overall.float())
        self.register_buffer("directions", directions[:, -rank:].float())
        self.register_buffer("whiten", (whiten / width**0.5).float())
        self.register_buffer("means", ((means - overall) @ whiten / width**0.5).float())
        rest = float(variances[:-rank].mean()) if rank < width else 0.0
        self.rest = 1 / (rest * width) if rest else 0.0

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) -> (N, K)."""
        centred = features - self.get_buffer("overall")
        whitened = centred @ self.get_buffer("whiten")  # (N, rank)
        means = self.get_buffer("means")
        distances = (
            whitened.square().sum(1, keepdim=True) - 2 * whitened @ means.T + means.square().sum(1)
        )
        if self.rest:
            inside = centred @ self.get_buffer("directions")
            left = centred.square().sum(1, keepdim=True) - inside.square().sum(1, keepdim=True)
            distances = distances + self.rest * left
        return distances


class Score(nn.Module):
    """One number for each picture: the higher, the more it is like the training pictures.

    Args:
        name: One of `SCORES`.
        features: Of training pictures, for the cosine.
        targets: Their labels.
        classes: Labels.
    """

    def __init__(self, name: str, features: Tensor, targets: Tensor, classes: int) -> None:
        """Keep the labels' mean directions."""
        super().__init__()
        self.name = name
        means = features.mean(0).repeat(classes, 1)
        for label in sorted(set(targets.tolist())):
            means[label] = features[targets == label].mean(0)
        self.register_buffer("means", nn.functional.normalize(means, dim=1))

    def forward(self, logits: Tensor, features: Tensor, distances: Tensor) -> Tensor:
        """(N, K), (N, F), (N, K) -> (N,)."""
        if self.name == "cosine":
            directions = features / features.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
            return (directions @ self.get_buffer("means").T).amax(1)
        return SCORES[self.name](logits, distances)


SCORES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "max_logit": lambda logits, _: logits.amax(1),
        "energy": lambda logits, _: logits.logsumexp(1),
        "cosine": lambda *_: torch.empty(0),  # needs the features; `Score` knows how
        "mahalanobis": lambda _, distances: -distances.amin(1),
    }
)


def find_threshold(scores: Tensor) -> float:
    """Give the score that `ACCEPTED` of the validation split's pictures reach."""
    return float(torch.quantile(scores.double(), 1 - ACCEPTED))


def auroc(ordinary: Tensor, strange: Tensor) -> float:
    """Area under the curve of ordinary (N,) against strange (M,) scores; 0.5 is a coin."""
    scores = torch.cat([ordinary, strange])
    # torchmetrics squeezes what lies outside [0, 1] through a sigmoid, which loses ranks.
    ranks = torch.unique(scores, return_inverse=True)[1].float() / max(1, len(scores) - 1)
    truth = torch.cat([torch.ones(len(ordinary)), torch.zeros(len(strange))]).long()
    return float(binary_auroc(ranks, truth))


def measure_refusal(validation: Tensor, test: Tensor, strange: Mapping[str, Tensor]) -> OodFigures:
    """Find the threshold on the validation split, and see what it does to the other scores."""
    threshold = find_threshold(validation)
    return OodFigures(
        threshold=threshold,
        accepted=float((test >= threshold).double().mean()),
        sets={
            name: OodSet(
                auroc=round(auroc(test, scores), 6),
                flagged=float((scores < threshold).double().mean()),
                n=len(scores),
            )
            for name, scores in strange.items()
        },
    )
