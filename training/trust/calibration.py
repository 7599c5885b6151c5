"""Choose and fit the calibrator that turns logits into calibrated probabilities.

Cross-validation on the validation split compares several methods. The one with the lowest
cross-entropy is fitted on the whole split and goes into the graph.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from model.artifact.trust import Calibration

Term = Literal["margin", "distance"]


class Calibrator(nn.Module):
    """Logits and distances -> probabilities; the likeliest label never changes.

    softmax(exp(a + sum of b_i q_i) max(u, 0) + exp(r) min(u, 0)), where u are the logits minus the
    second largest logit. The lead of the likeliest label has one scale, the other labels have
    another (decision 43). The first scale depends on quantities q_i of the image:

    - `margin`: m and log(1 + m), where m is the margin between the two largest logits;
    - `distance`: log(1 + D1) and log(1 + D2 - D1), of the distances to the two nearest labels.

    Without terms it is temperature scaling, softmax(exp(a) z). Quantities are clipped at the
    largest value that was fitted: beyond it the exponential would run away.

    Args:
        terms: What the scale of the likeliest label depends on.
        largest: Upper limit of each quantity, (Q,); None: no limit.
    """

    largest: Tensor

    def __init__(self, terms: tuple[Term, ...], largest: Tensor | None = None) -> None:
        super().__init__()
        self.terms = terms
        count = 2 * len(terms)
        self.scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.rest = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.weights = nn.Parameter(torch.zeros(count, dtype=torch.float64))
        unlimited = torch.full((count,), math.inf, dtype=torch.float64)
        self.register_buffer("largest", unlimited if largest is None else largest)

    def forward(self, logits: Tensor, distances: Tensor) -> Tensor:
        """(N, K) and (N, K) -> probabilities (N, K)."""
        return self.scaled(logits, distances).softmax(1)

    def scaled(self, logits: Tensor, distances: Tensor) -> Tensor:
        """Return the calibrated logits (N, K); with terms, minus the second largest logit."""
        if not self.terms:
            return logits * torch.exp(self.scale)
        known = quantities(self.terms, logits, distances).minimum(self.largest)
        exponent = self.scale + (known * self.weights).sum(1, keepdim=True)
        ahead = logits - logits.topk(2, dim=1).values[:, 1:]
        return ahead * torch.where(ahead > 0, exponent, self.rest).exp()

    def temperature(self) -> float | None:
        """Return the temperature; None if the calibrator has terms."""
        return None if self.terms else float(torch.exp(-self.scale))

    def coefficients(self) -> dict[str, tuple[float, ...]]:
        """Return the fitted coefficients, by term."""
        found: dict[str, tuple[float, ...]] = {"scale": (round(float(self.scale), 8),)}
        if self.terms:
            found["rest"] = (round(float(self.rest), 8),)
        for place, term in enumerate(self.terms):
            for name, values in ((term, self.weights), (f"largest {term}", self.largest)):
                own = values[2 * place : 2 * place + 2].tolist()
                found[name] = tuple(round(value, 8) for value in own)
        return found


def quantities(terms: tuple[Term, ...], logits: Tensor, distances: Tensor) -> Tensor:
    """Logits (N, K) and distances (N, K) -> two quantities for each term: (N, Q)."""
    found = []
    if "margin" in terms:
        largest = logits.topk(2, dim=1).values
        margin = largest[:, :1] - largest[:, 1:]
        found += [margin, torch.log(margin + 1)]
    if "distance" in terms:
        nearest = distances.topk(2, dim=1, largest=False).values
        found += [torch.log(nearest[:, :1] + 1), torch.log(nearest[:, 1:] - nearest[:, :1] + 1)]
    return torch.cat(found, dim=1)


METHODS: Mapping[str, tuple[Term, ...]] = MappingProxyType(
    {
        "temperature": (),
        "margin": ("margin",),
        "distance": ("distance",),
        "margin+distance": ("margin", "distance"),
    }
)
FOLDS = 5
MIN_IMAGES_FOR_TERMS = 100
"""With fewer images only a temperature is fitted: the other methods would overfit."""
SCALE_SHRINK_Z = 1.96
"""The scale is shrunk to the lower end of its 95 % interval, in standard errors.

The validation split chose the checkpoint, so the network does better there than on new images.
The scale that fits best there is therefore overconfident, and never underconfident.
"""
MAX_SCALE_ERROR = 0.25
"""Upper limit of the standard error: a few images say almost nothing about the scale."""


@dataclass(frozen=True)
class CalibrationData:
    """What a calibrator reads of a split.

    Attributes:
        logits: float32 (N, K).
        distances: To each label in feature space, (N, K).
        targets: int64 (N,).
    """

    logits: Tensor
    distances: Tensor
    targets: Tensor

    def __getitem__(self, chosen: Tensor) -> "CalibrationData":
        """Select some of the images."""
        return CalibrationData(self.logits[chosen], self.distances[chosen], self.targets[chosen])


@dataclass(frozen=True)
class Chosen:
    """The calibrator of a graph, and the calibrators of the cross-validation.

    Attributes:
        calibrator: FittedTrustHead on the whole split.
        by_fold: One calibrator for each fold, fitted on the other folds.
        fold: The fold of each image, (N,).
        record: What the manifest says about it.
    """

    calibrator: Calibrator
    by_fold: tuple[Calibrator, ...]
    fold: Tensor
    record: Calibration

    def out_of_fold_probabilities(self, data: CalibrationData) -> Tensor:
        """Calibrate each image (N, K) by the calibrator that was fitted without it.

        Args:
            data: Of the split that chose the calibrator, in any precision.
        """
        probabilities = torch.empty_like(data.logits)
        with torch.no_grad():
            for number, calibrator in enumerate(self.by_fold):
                part = data[self.fold == number]
                probabilities[self.fold == number] = calibrator(
                    part.logits.double(), part.distances.double()
                ).float()
        return probabilities


def fit(data: CalibrationData, terms: tuple[Term, ...]) -> Calibrator:
    """Find the coefficients with the lowest cross-entropy.

    The scale may be above or below 1: networks trained with label smoothing are underconfident,
    most others are overconfident. An L2 prior with the weight of one image keeps the scale finite
    where a few images are all classified correctly. A fit that diverges gives the plain softmax.
    """
    logits, distances = data.logits.double(), data.distances.double()
    if not len(logits):  # a single fold holds every image
        return Calibrator(terms).requires_grad_(requires_grad=False)
    largest = quantities(terms, logits, distances).max(0).values if terms else None
    calibrator = Calibrator(terms, largest)
    optimizer = torch.optim.LBFGS(
        calibrator.parameters(), max_iter=300, tolerance_grad=1e-8, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        scaled = calibrator.scaled(logits, distances)
        value = nn.functional.cross_entropy(scaled, data.targets)
        l2_prior = calibrator.scale.square().sum() + calibrator.rest.square().sum()
        value = value + l2_prior / len(logits)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    if not all(bool(values.isfinite().all()) for values in calibrator.parameters()):
        calibrator = Calibrator(terms, largest)
    calibrator.requires_grad_(requires_grad=False)
    calibrator.scale.copy_(calibrator.scale - SCALE_SHRINK_Z * _standard_error(calibrator, data))
    return calibrator


def _standard_error(calibrator: Calibrator, data: CalibrationData) -> float:
    """Standard error of the scale: the sandwich formula, by finite differences."""
    step = 1e-3
    centre = calibrator.scale.clone()
    losses = []
    for offset in (-step, 0.0, step):
        calibrator.scale.copy_(centre + offset)
        losses.append(_loss(calibrator, data))  # (N,)
    calibrator.scale.copy_(centre)
    below, at, above = losses
    slopes = (above - below) / (2 * step)
    curvature = ((above - 2 * at + below) / step**2).mean().clamp(min=1e-6)
    error = slopes.square().mean().sqrt() / curvature / len(slopes) ** 0.5
    return min(float(error), MAX_SCALE_ERROR)


def choose(data: CalibrationData, split: str, *, seed: int = 0) -> Chosen:
    """Compare the methods by cross-validation, and fit the best one on the whole split.

    Args:
        data: Of the validation split; the test split must not choose anything.
        split: Its name, for the manifest.
        seed: Seed of the folds.
    """
    count, classes = data.logits.shape
    folds = max(2, min(FOLDS, count))
    fold = torch.randperm(count, generator=torch.Generator().manual_seed(seed)) % folds
    is_enough = classes > 1 and count >= MIN_IMAGES_FOR_TERMS
    methods = METHODS if is_enough else {"temperature": METHODS["temperature"]}
    tried: dict[str, float] = {}
    fitted: dict[str, tuple[Calibrator, ...]] = {}
    for name, terms in methods.items():
        fitted[name] = tuple(fit(data[fold != number], terms) for number in range(folds))
        losses = [_loss(fitted[name][number], data[fold == number]) for number in range(folds)]
        nll = float(torch.cat(losses).mean())
        if math.isfinite(nll) or name == "temperature":  # otherwise it diverged on a fold
            tried[name] = nll
    best = min(tried, key=tried.__getitem__)
    calibrator = fit(data, METHODS[best])
    record = Calibration(
        method=best,
        coefficients=calibrator.coefficients(),
        split=split,
        n=count,
        folds=folds,
        cross_validated_nll={name: round(value, 6) for name, value in tried.items()},
    )
    return Chosen(calibrator, fitted[best], fold, record)


def _loss(calibrator: Calibrator, data: CalibrationData) -> Tensor:
    scaled = calibrator.scaled(data.logits.double(), data.distances.double())
    return nn.functional.cross_entropy(scaled, data.targets, reduction="none").detach()
