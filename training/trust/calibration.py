"""Choose and fit the calibrator that turns logits into calibrated probabilities.

Cross-validation on the validation split compares several methods. The one with the lowest
cross-entropy is fitted on the whole split and goes into the graph.

Where few answers are wrong only a temperature is fitted, and no probability is above what the
number of images allows (decision 59).
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from model.artifact.trust import Calibration
from training.trust.calibrator import METHODS, SOFTMAX, Calibrator, Term, quantities

FOLDS = 5
MIN_WRONG_FOR_TERMS = 60
"""With fewer wrong answers only a temperature is fitted: they alone limit confidence.

Ten for each of the six coefficients. Source: Peduzzi et al., "A simulation study of the number of
events per variable in logistic regression analysis", 1996.
"""
MIN_LIMIT = 0.75
"""Lowest `max_probability`: below 12 images the rule of three allows no answer at all."""


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
        calibrator: Fitted on the whole split.
        by_fold: One calibrator for each fold, fitted on the other folds.
        fold: The fold of each image, (N,).
        record: What the manifest says about it.
    """

    calibrator: Calibrator
    by_fold: tuple[Calibrator, ...]
    fold: Tensor
    record: Calibration

    def uncalibrated(self, reason: str) -> Self:
        """Replace the calibrators by the plain softmax, and record why."""
        plain = Calibrator(()).requires_grad_(requires_grad=False)
        record = self.record.model_copy(
            update={
                "method": SOFTMAX,
                "coefficients": plain.coefficients(),
                "max_probability": None,
                "left_out": reason,
            }
        )
        by_fold = (plain,) * len(self.by_fold)
        return replace(self, calibrator=plain, by_fold=by_fold, record=record)

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


def max_probability(images: int) -> float:
    """Return the largest probability that a validation split of so many images supports.

    If none of n answers is wrong, up to 3 in n may be, with 95 % confidence: the rule of three.

    Source:
        Hanley and Lippman-Hand, "If Nothing Goes Wrong, Is Everything All Right?", 1983.
    """
    return max(MIN_LIMIT, 1 - 3 / images) if images else MIN_LIMIT


def fit(data: CalibrationData, terms: tuple[Term, ...], *, limit: float = 1.0) -> Calibrator:
    """Find the coefficients with the lowest cross-entropy.

    The scale may be above or below 1: networks trained with label smoothing are underconfident,
    most others are overconfident. Two priors have the weight of one image each: an L2 prior draws
    the scale towards 1, and one more image whose label is not known keeps confidence down. With n
    images, all right, it ends near 1 - 1/n, as Laplace's rule of succession has it. A fit that
    diverges gives the plain softmax.

    Args:
        data: Of the validation split.
        terms: Of the calibrator.
        limit: The calibrator's `max_probability`.

    Source:
        Platt, "Probabilistic Outputs for Support Vector Machines", 1999, 2.2.
    """
    logits, distances = data.logits.double(), data.distances.double()
    if not len(logits):  # a single fold holds every image
        return Calibrator(terms, max_probability=limit).requires_grad_(requires_grad=False)
    largest = quantities(terms, logits, distances).max(0).values if terms else None
    calibrator = Calibrator(terms, largest, limit)
    unknown = 1 / (len(logits) + 1)
    optimizer = torch.optim.LBFGS(
        calibrator.parameters(), max_iter=300, tolerance_grad=1e-8, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        scaled = calibrator.scaled(logits, distances)
        value = nn.functional.cross_entropy(scaled, data.targets, label_smoothing=unknown)
        l2_prior = calibrator.scale.square().sum() + calibrator.rest.square().sum()
        value = value + l2_prior / len(logits)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    if not all(bool(values.isfinite().all()) for values in calibrator.parameters()):
        calibrator = Calibrator(terms, largest, limit)
    return calibrator.requires_grad_(requires_grad=False)


def choose(data: CalibrationData, split: str, *, seed: int = 0) -> Chosen:
    """Compare the methods by cross-validation, and fit the best one on the whole split.

    Args:
        data: Of the validation split; the test split must not choose anything.
        split: Its name, for the manifest.
        seed: Seed of the folds.
    """
    count, classes = data.logits.shape
    wrong = int((data.logits.argmax(1) != data.targets).sum())
    few = wrong < MIN_WRONG_FOR_TERMS or classes == 1
    folds = max(2, min(FOLDS, count))
    fold = torch.randperm(count, generator=torch.Generator().manual_seed(seed)) % folds
    tried: dict[str, float] = {}
    fitted: dict[str, tuple[Calibrator, ...]] = {}
    for name, terms in METHODS.items():
        if terms and few:
            continue
        fitted[name] = tuple(fit_method(data[fold != each], name, count) for each in range(folds))
        losses = [_loss(fitted[name][each], data[fold == each]) for each in range(folds)]
        nll = float(torch.cat(losses).mean())
        if math.isfinite(nll) or name == SOFTMAX:  # otherwise it diverged on a fold
            tried[name] = nll
    best = min(tried, key=tried.__getitem__)
    calibrator = fit_method(data, best, count)
    record = Calibration(
        method=best,
        coefficients=calibrator.coefficients(),
        split=split,
        n=count,
        wrong=wrong,
        max_probability=calibrator.max_probability,
        folds=folds,
        cross_validated_nll={name: round(value, 6) for name, value in tried.items()},
    )
    return Chosen(calibrator, fitted[best], fold, record)


def fit_method(data: CalibrationData, method: str, images: int) -> Calibrator:
    """Fit a method to a split of so many images, or to a part of it."""
    limit = max_probability(images)
    if method == SOFTMAX:
        return Calibrator((), max_probability=limit).requires_grad_(requires_grad=False)
    return fit(data, METHODS[method], limit=limit)


def _loss(calibrator: Calibrator, data: CalibrationData) -> Tensor:
    """Cross-entropy of each image's answer, (N,)."""
    answers: Tensor = calibrator(data.logits.double(), data.distances.double())
    return -answers.gather(1, data.targets[:, None])[:, 0].log().detach()
