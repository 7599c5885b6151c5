"""Out-of-distribution (OOD) scores: one number that is high for images like the training data.

Four scores are compared: the largest logit, the energy, the cosine to the nearest label's mean
feature, and the Mahalanobis distance to it. The choice is made on the validation split and
distorted copies of it (noise, inverted, shuffled). The reported figures compare the test split
with OOD sets of other kinds.

Source:
    Liu et al., 2020 (arXiv 2010.03759) for the energy; Hendrycks et al., 2022
    (arXiv 1911.11132) for the largest logit; Lee et al., 2018 (arXiv 1807.03888) for the
    Mahalanobis distance.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from model.artifact.trust import Kind, OodFigures, OodSet
from training.trust.intervals import auroc_interval, rank_interval, share_interval

FLAGGED_SHARE = 0.05
"""Share of images like those that set the threshold, which fall under it."""
MIN_AUROC = 0.8
"""With a lower mean over the OOD sets the score tells too little, and no threshold is offered."""
USER_SET = "photographs"
"""The images of `--ood-images`: what the user wants to be told must be told by itself."""
MAX_RANK = 256
"""Directions that are whitened one by one; 2,048 of them would take 16 MB in the graph."""
RIDGE = 1e-3


class Distances(nn.Module):
    """Features (N, F) -> squared Mahalanobis distances to the labels' means, per feature, (N, K).

    All labels share one covariance. Beyond `MAX_RANK` directions, the remaining ones count with
    their mean variance, measured from the mean of all images.

    Args:
        features: Of training images, (M, F).
        targets: Their labels, (M,).
        classes: Number of labels; a label without an image gets the mean of all.
    """

    def __init__(self, features: Tensor, targets: Tensor, classes: int) -> None:
        super().__init__()
        exact = features.double()
        overall = exact.mean(0)
        means = overall.repeat(classes, 1)
        for label in sorted(set(targets.tolist())):
            means[label] = exact[targets == label].mean(0)
        centred = exact - means[targets]
        covariance = centred.T @ centred / len(exact)
        width = exact.shape[1]
        # Never 0, which one image per label would give: all distances would be infinite.
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
    """One number for each image: the higher, the more it is like the training images.

    Args:
        name: One of `SCORES`.
        features: Of training images, for the cosine.
        targets: Their labels.
        classes: Number of labels.
    """

    def __init__(self, name: str, features: Tensor, targets: Tensor, classes: int) -> None:
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
        "cosine": lambda *_: torch.empty(0),  # needs the features: see `Score`
        "mahalanobis": lambda _, distances: -distances.amin(1),
    }
)


def threshold_rank(images: int) -> int:
    """Return which of so many scores, in ascending order, is the threshold; 0: none.

    A new image falls under the k-th of n scores with a chance of k / (n + 1).
    """
    return int(FLAGGED_SHARE * (images + 1) + 1e-9)


def find_threshold(scores: Tensor) -> float | None:
    """Return the threshold under which 5 % of new images fall; None: there are too few scores."""
    rank = threshold_rank(len(scores))
    return float(scores.double().sort().values[rank - 1]) if rank else None


def flagged_interval(images: int, new: int | None = None) -> tuple[float, float]:
    """Return the 95 % interval of the share of new images that fall under the threshold.

    Args:
        images: Behind the threshold, n.
        new: How many new images are counted; None: the share in the long run.
    """
    return rank_interval(threshold_rank(images), images, new)


def auroc(in_distribution: Tensor, ood: Tensor) -> float:
    """Area under the ROC curve of in-distribution (N,) against OOD (M,) scores; 0.5 is chance."""
    scores = torch.cat([in_distribution, ood])
    # torchmetrics maps scores outside [0, 1] through a sigmoid, where large ones become equal.
    ranks = torch.unique(scores, return_inverse=True)[1].float() / max(1, len(scores) - 1)
    truth = torch.cat([torch.ones(len(in_distribution)), torch.zeros(len(ood))]).long()
    return float(binary_auroc(ranks, truth))


class Measured(NamedTuple):
    """Images that measure the score.

    Attributes:
        scores: Of the images, (M,).
        is_right: Whether each is answered rightly, (M,).
    """

    scores: Tensor
    is_right: Tensor


def measure_ood(
    calibrating: Tensor,
    measured: Measured,
    ood: Mapping[str, tuple[Kind, Tensor]],
    chose: Mapping[str, float],
    split: str = "calibration",
) -> OodFigures:
    """Set the threshold on one split, and apply it to another split and OOD sets.

    No threshold is set where there are too few images, or the score does not tell the OOD sets
    from the measured split.

    Args:
        calibrating: Scores that set the threshold, (N,).
        measured: The split that measures.
        ood: Kind and scores of each OOD set.
        chose: AUROC against each set that chose the score.
        split: Name of the split that sets the threshold.
    """
    known = measured.scores
    areas = {name: auroc(known, scores) for name, (_, scores) in ood.items()}
    left_out = _why_left_out(split, len(calibrating), {**chose, **areas})
    threshold = None if left_out else find_threshold(calibrating)
    sets = {name: _ood_set(known, scores, kind, threshold) for name, (kind, scores) in ood.items()}
    if threshold is None:
        return OodFigures(threshold=None, accepted=None, sets=sets, left_out=left_out)
    is_flagged = known < threshold
    return OodFigures(
        threshold=threshold,
        accepted=1 - float(is_flagged.double().mean()),
        flagged_top1=float(measured.is_right[is_flagged].double().mean())
        if is_flagged.any()
        else None,
        sets=sets,
        split=split,
        n=len(calibrating),
        flagged_interval=flagged_interval(len(calibrating)),
        flagged_interval_measured=flagged_interval(len(calibrating), len(known)),
    )


def _ood_set(known: Tensor, scores: Tensor, kind: Kind, threshold: float | None) -> OodSet:
    """Compare the scores of one OOD set with those of known images, and with the threshold."""
    under = 0 if threshold is None else int((scores < threshold).sum())
    return OodSet(
        auroc=round(auroc(known, scores), 6),
        auroc_interval=auroc_interval(known, scores),
        flagged=None if threshold is None else under / len(scores),
        flagged_interval=None if threshold is None else share_interval(under, len(scores)),
        n=len(scores),
        kind=kind,
    )


def _why_left_out(split: str, images: int, areas: Mapping[str, float]) -> str | None:
    """Say why there is no threshold; None: there is one."""
    if not threshold_rank(images):
        needed = math.ceil(1 / FLAGGED_SHARE) - 1
        return (
            f"the {split} split has {images} images, but a threshold that "
            f"{FLAGGED_SHARE:.0%} of them fall below needs {needed} or more"
        )
    mean = sum(areas.values()) / len(areas)
    if mean < MIN_AUROC:
        listed = ", ".join(f"{name} {area:.2f}" for name, area in areas.items())
        return (
            "the score does not separate foreign images from real ones: its mean "
            f"AUROC is {mean:.2f}, but at least {MIN_AUROC} is needed ({listed})"
        )
    if areas.get(USER_SET, 1.0) < MIN_AUROC:
        return (
            "the score does not separate the images of --ood-images from real ones: "
            f"its AUROC is {areas[USER_SET]:.2f}, but at least {MIN_AUROC} is needed"
        )
    return None
