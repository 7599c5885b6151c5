"""Choose and fit the calibrator that turns logits into honest probabilities.

Several methods are held against each other by cross-validation on the validation split;
the one with the lowest cross-entropy is fitted on all of it and goes into the graph.
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
    """Logits and distances -> probabilities; the likeliest label stays what it was.

    softmax(exp(a + sum of b_i q_i) max(u, 0) + exp(r) min(u, 0)), where u are the logits less the
    second largest: how far the likeliest label is ahead has one scale, how far the others are
    behind another (decision 43). The first depends on quantities q_i of the picture: m and
    log(1 + m), where m is the margin between the two largest logits (`margin`); log(1 + D1) and
    log(1 + D2 - D1), where D1 and D2 are the distances to the two nearest labels (`distance`). A
    method has some of the terms; with none it is temperature scaling, softmax(exp(a) z).
    Quantities count up to the largest that was fitted: beyond it nobody knows, and the exponential
    would run away.

    Args:
        terms: What the scale of the likeliest label depends on.
        largest: Of each quantity, (Q,); None: as they come.
    """

    largest: Tensor

    def __init__(self, terms: tuple[Term, ...], largest: Tensor | None = None) -> None:
        """Start as the plain softmax."""
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
        """Give the calibrated logits (N, K), with terms less the second largest."""
        if not self.terms:
            return logits * torch.exp(self.scale)
        known = quantities(self.terms, logits, distances).minimum(self.largest)
        exponent = self.scale + (known * self.weights).sum(1, keepdim=True)
        ahead = logits - logits.topk(2, dim=1).values[:, 1:]
        return ahead * torch.where(ahead > 0, exponent, self.rest).exp()

    def temperature(self) -> float | None:
        """Give the divisor of the logits, if that is all there is."""
        return None if self.terms else float(torch.exp(-self.scale))

    def coefficients(self) -> dict[str, tuple[float, ...]]:
        """Give the fitted numbers, by term."""
        found: dict[str, tuple[float, ...]] = {"scale": (round(float(self.scale), 8),)}
        if self.terms:
            found["rest"] = (round(float(self.rest), 8),)
        for place, term in enumerate(self.terms):
            for name, values in ((term, self.weights), (f"largest {term}", self.largest)):
                own = values[2 * place : 2 * place + 2].tolist()
                found[name] = tuple(round(value, 8) for value in own)
        return found


def quantities(terms: tuple[Term, ...], logits: Tensor, distances: Tensor) -> Tensor:
    """(N, K) and (N, K) -> what each term looks at, two for each: (N, Q)."""
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
FEWEST = 100
"""Pictures under which nothing but a temperature is fitted: the rest would fit the pictures."""
MODESTY = 1.96
"""The scale is taken from the modest end of its 95 % interval, in standard errors.

The validation split chose the checkpoint, so the network does better there than on new
pictures, and the best scale there is too sure of itself; never the other way round.
"""
LARGEST_ERROR = 0.25
"""Where a handful of pictures says next to nothing about the scale."""


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
    if not len(logits):  # a fold that has them all
        return Calibrator(terms).requires_grad_(requires_grad=False)
    largest = quantities(terms, logits, distances).max(0).values if terms else None
    calibrator = Calibrator(terms, largest)
    optimizer = torch.optim.LBFGS(
        calibrator.parameters(), max_iter=300, tolerance_grad=1e-8, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        scaled = calibrator.scaled(logits, distances)
        value = nn.functional.cross_entropy(scaled, evidence.targets)
        doubt = calibrator.scale.square().sum() + calibrator.rest.square().sum()
        value = value + doubt / len(logits)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    if not all(bool(values.isfinite().all()) for values in calibrator.parameters()):
        calibrator = Calibrator(terms, largest)
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
