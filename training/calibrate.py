"""Choose and fit the calibrator that turns logits into honest probabilities.

Several methods are held against each other by cross-validation on the validation split;
the one with the lowest cross-entropy is fitted on all of it and goes into the graph.

Source:
    Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv 1706.04599) for
    temperature and vector scaling. A scale that depends on the picture follows Tomani et
    al., "Parameterized Temperature Scaling", 2022 (arXiv 2102.12182); a term for the
    distance in feature space follows Tomani et al., "Beyond In-Domain Scenarios:
    Robust Density-Aware Calibration", 2023 (arXiv 2302.05118).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from model.trust import Calibration

Term = Literal["margin", "distance", "label"]
METHODS: Mapping[str, tuple[Term, ...]] = MappingProxyType(
    {
        "temperature": (),
        "vector": ("label",),
        "margin": ("margin",),
        "margin+distance": ("margin", "distance"),
        "margin+distance+vector": ("margin", "distance", "label"),
    }
)
FOLDS = 5
FEWEST = 100
"""Pictures under which nothing but a temperature is fitted: the rest would fit the pictures."""
PENALTY = 1e-3
"""On the squares of what each label has of its own, so that rare labels stay near the rest."""
MODESTY = 1.96
"""The scale is taken from the modest end of its 95 % interval, in standard errors.

The validation split chose the checkpoint, so the network does better there than on new
pictures, and the best scale there is too sure of itself; never the other way round.
"""
LARGEST_ERROR = 0.25
"""Where a handful of pictures says next to nothing about the scale."""


class Calibrator(nn.Module):
    """Logits and distances -> probabilities.

    softmax(exp(a + b m + c log(1 + m)) exp(s_k) z_k + h_k - d D_k), with m the margin
    between the two largest logits and D_k the distance to label k; a method has some of
    the terms, and temperature scaling is exp(a) alone.

    Args:
        terms: Beside the common scale.
        classes: Labels.
    """

    def __init__(self, terms: tuple[Term, ...], classes: int) -> None:
        """Start as the plain softmax."""
        super().__init__()
        self.terms = terms
        self.scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.margin = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.distance = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.label_scale = nn.Parameter(torch.zeros(classes, dtype=torch.float64))
        self.label_shift = nn.Parameter(torch.zeros(classes, dtype=torch.float64))

    def forward(self, logits: Tensor, distances: Tensor) -> Tensor:
        """(N, K) and (N, K) -> probabilities (N, K)."""
        return self.scaled(logits, distances).softmax(1)

    def scaled(self, logits: Tensor, distances: Tensor) -> Tensor:
        """Give the calibrated logits (N, K)."""
        exponent: Tensor = self.scale
        if "margin" in self.terms:
            largest = logits.topk(2, dim=1).values
            margin = largest[:, :1] - largest[:, 1:]  # (N, 1)
            exponent = exponent + self.margin[:1] * margin
            exponent = exponent + self.margin[1:] * torch.log(margin + 1)
        scaled = logits * torch.exp(exponent)
        if "label" in self.terms:
            scaled = scaled * torch.exp(self.label_scale) + self.label_shift
        if "distance" in self.terms:
            scaled = scaled - self.distance * distances
        return scaled

    def temperature(self) -> float | None:
        """Give the divisor of the logits, if that is all there is."""
        return None if self.terms else float(torch.exp(-self.scale))

    def coefficients(self) -> dict[str, tuple[float, ...]]:
        """Give the fitted numbers, by term."""
        used: dict[str, tuple[nn.Parameter, ...]] = {
            "scale": (self.scale,),
            **({"margin": (self.margin,)} if "margin" in self.terms else {}),
            **({"distance": (self.distance,)} if "distance" in self.terms else {}),
        }
        if "label" in self.terms:
            used |= {"label_scale": (self.label_scale,), "label_shift": (self.label_shift,)}
        return {
            name: tuple(round(float(value), 8) for value in parameters[0])
            for name, parameters in used.items()
        }


@dataclass(frozen=True)
class Evidence:
    """What a calibrator sees of a split.

    Attributes:
        logits: float32 (N, K).
        distances: To each label in feature space, (N, K).
        targets: int64 (N,).
    """

    logits: Tensor
    distances: Tensor
    targets: Tensor

    def __getitem__(self, chosen: Tensor) -> "Evidence":
        """Choose some of the pictures."""
        return Evidence(self.logits[chosen], self.distances[chosen], self.targets[chosen])


@dataclass(frozen=True)
class Chosen:
    """The calibrator of a graph, and those of the folds.

    Attributes:
        calibrator: Fitted on the whole split.
        by_fold: Each fitted without one fold.
        fold: Which fold each picture is in, (N,).
        record: For the manifest.
    """

    calibrator: Calibrator
    by_fold: tuple[Calibrator, ...]
    fold: Tensor
    record: Calibration

    def honest(self, evidence: Evidence) -> Tensor:
        """Answer each picture (N, K) by the calibrator that was fitted without it.

        Args:
            evidence: The split that chose, as any precision sees it.
        """
        answers = torch.empty_like(evidence.logits)
        with torch.no_grad():
            for number, calibrator in enumerate(self.by_fold):
                part = evidence[self.fold == number]
                answers[self.fold == number] = calibrator(
                    part.logits.double(), part.distances.double()
                ).float()
        return answers


def fit(evidence: Evidence, terms: tuple[Term, ...]) -> Calibrator:
    """Find the coefficients with the lowest cross-entropy.

    The scale is not held to either side: networks trained with label smoothing are too
    modest, most others too sure. One picture's worth of doubt keeps it from growing without
    bound where a few pictures are all answered right. A fit that runs away gives the plain softmax.
    """
    logits, distances = evidence.logits.double(), evidence.distances.double()
    calibrator = Calibrator(terms, logits.shape[1])
    if not len(logits):  # a fold that has them all
        return calibrator.requires_grad_(requires_grad=False)
    own = (calibrator.label_scale, calibrator.label_shift)
    optimizer = torch.optim.LBFGS(
        calibrator.parameters(), max_iter=300, tolerance_grad=1e-8, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        scaled = calibrator.scaled(logits, distances)
        value = nn.functional.cross_entropy(scaled, evidence.targets)
        value = value + PENALTY * sum(values.square().sum() for values in own)
        value = value + calibrator.scale.square().sum() / len(logits)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    if not all(bool(values.isfinite().all()) for values in calibrator.parameters()):
        calibrator = Calibrator(terms, logits.shape[1])
    calibrator.requires_grad_(requires_grad=False)
    calibrator.scale.copy_(calibrator.scale - MODESTY * _standard_error(calibrator, evidence))
    return calibrator


def _standard_error(calibrator: Calibrator, evidence: Evidence) -> float:
    """Estimate how far the common scale may be off: the sandwich formula, by differences."""
    step = 1e-3
    centre = calibrator.scale.clone()
    losses = []
    for offset in (-step, 0.0, step):
        calibrator.scale.copy_(centre + offset)
        losses.append(_loss(calibrator, evidence))  # (N,)
    calibrator.scale.copy_(centre)
    below, at, above = losses
    slopes = (above - below) / (2 * step)
    curvature = ((above - 2 * at + below) / step**2).mean().clamp(min=1e-6)
    error = slopes.square().mean().sqrt() / curvature / len(slopes) ** 0.5
    return min(float(error), LARGEST_ERROR)


def choose(evidence: Evidence, split: str, *, seed: int = 0) -> Chosen:
    """Hold the methods against each other by cross-validation; fit the best on everything.

    Args:
        evidence: Of the validation split; the test split must not choose anything.
        split: Its name, for the manifest.
        seed: Of the folds.
    """
    count, classes = evidence.logits.shape
    folds = max(2, min(FOLDS, count))
    fold = torch.randperm(count, generator=torch.Generator().manual_seed(seed)) % folds
    is_enough = classes > 1 and count >= FEWEST
    methods = METHODS if is_enough else {"temperature": METHODS["temperature"]}
    tried: dict[str, float] = {}
    fitted: dict[str, tuple[Calibrator, ...]] = {}
    for name, terms in methods.items():
        fitted[name] = tuple(fit(evidence[fold != number], terms) for number in range(folds))
        losses = [_loss(fitted[name][number], evidence[fold == number]) for number in range(folds)]
        nll = float(torch.cat(losses).mean())
        if math.isfinite(nll) or name == "temperature":  # else it ran away on a fold
            tried[name] = nll
    best = min(tried, key=tried.__getitem__)
    calibrator = fit(evidence, METHODS[best])
    record = Calibration(
        method=best,
        coefficients=calibrator.coefficients(),
        split=split,
        n=count,
        folds=folds,
        cross_validated_nll={name: round(value, 6) for name, value in tried.items()},
    )
    return Chosen(calibrator, fitted[best], fold, record)


def _loss(calibrator: Calibrator, evidence: Evidence) -> Tensor:
    scaled = calibrator.scaled(evidence.logits.double(), evidence.distances.double())
    return nn.functional.cross_entropy(scaled, evidence.targets, reduction="none").detach()
