"""Figures of a network on a split: loss, accuracy, calibration. The same for torch and ONNX."""

import json
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy.fft import dct, idct
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from model.artifact.trust import Bins, Reliability
from training.evaluation.predict import Predictions
from training.plots.figures import draw_confusion, draw_reliability

BINS = 15
CELLS = 2048
"""Of confidence, for the error without bins: fine beside any kernel that is used."""
MAX_RISE = 0.02
"""Share by which calibration may raise the cross-entropy of the test split."""


class Evaluation(BaseModel):
    """A network's figures on one split.

    Attributes:
        mirrored_top1: Top-1 of the mean logits of each image and its mirror image (test-time
            augmentation, at twice the cost); None where training did not mirror images.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    split: str
    n: int
    loss: float
    top1: float
    top5: float
    ece: float
    per_label: dict[str, float | None]
    confusion: list[list[int]]
    mirrored_top1: float | None = None


def accuracy(predictions: Predictions) -> float:
    """Top-1 accuracy: share of the images whose likeliest label is the true one."""
    correct = predictions.calibrated().argmax(1) == predictions.targets
    return correct.double().mean().item()


def evaluate(
    predictions: Predictions,
    *,
    labels: tuple[str, ...],
    dataset: str,
    split: str,
    mirrored: Predictions | None = None,
) -> Evaluation:
    """Compute loss, accuracies, calibration error and confusion matrix of a split.

    Args:
        predictions: Of the whole split.
        labels: In the order of the targets.
        dataset: Name of the data set.
        split: Name of the split.
        mirrored: Predictions of the same split with test-time augmentation.
    """
    classes = len(labels)
    probabilities, targets = predictions.calibrated(), predictions.targets
    confusion = multiclass_confusion_matrix(probabilities, targets, classes)  # rows: truth
    counts = zip(confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True)
    per_label = [correct / images if images else None for correct, images in counts]
    return Evaluation(
        dataset=dataset,
        split=split,
        n=len(targets),
        loss=_cross_entropy(probabilities, targets),
        top1=round(accuracy(predictions), 6),
        top5=_top_k(probabilities, targets, min(5, classes)),
        ece=calibration_error(probabilities, targets),
        per_label=dict(zip(labels, per_label, strict=True)),
        confusion=confusion.tolist(),
        mirrored_top1=None if mirrored is None else round(accuracy(mirrored), 6),
    )


def reliability_bins(probabilities: Tensor, targets: Tensor) -> Bins:
    """Sort predictions (N, K) into equal bins of confidence: count, confidence, accuracy."""
    counts, confidence, correct = _binned(probabilities, targets)
    return Bins(n=tuple(counts.tolist()), confidence=_shares(confidence), accuracy=_shares(correct))


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Expected calibration error of predictions (N, K): the bins' gaps, weighted by counts.

    A confidence of exactly 1 falls into the last bin.
    """
    counts, confidence, correct = _binned(probabilities, targets)
    return float(((correct - confidence).abs() * counts).sum() / len(targets))


def smooth_calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Calibration error of predictions (N, K) without bins: gaps smoothed by a Gaussian kernel.

    The kernel is as wide as the error that it finds, and reflected at 0 and 1: that multiplies
    the coefficients of a cosine transform.

    Source:
        Blasiok and Nakkiran, "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing",
        2023 (arXiv 2309.12236).
    """
    confidence, top = probabilities.double().max(1)
    gaps = ((top == targets).double() - confidence) / len(targets)
    cell = (confidence * CELLS).long().clamp(max=CELLS - 1)
    waves = dct(torch.bincount(cell, gaps, minlength=CELLS).numpy(), norm="ortho")
    frequency = np.pi * np.arange(CELLS)

    def error(width: float) -> float:
        smoothed = idct(waves * np.exp(-((frequency * width) ** 2) / 2), norm="ortho")
        return float(np.abs(smoothed).sum())

    low, high = 0.0, 1.0  # the error falls as the kernel widens
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return low


def classwise_calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Mean over the labels of the calibration error of each label's own probability.

    Source:
        Kull et al., "Beyond temperature scaling", 2019 (arXiv 1910.12656).
    """
    found = []
    for label, own in enumerate(probabilities.double().T):
        index = (own * BINS).long().clamp(max=BINS - 1)
        gaps = torch.bincount(index, (targets == label).double() - own, minlength=BINS)
        found.append(float(gaps.abs().sum()) / len(targets))
    return sum(found) / len(found)


def _binned(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean confidence and accuracy of each bin, (B,)."""
    confidence, top = probabilities.double().max(1)
    index = (confidence * BINS).long().clamp(max=BINS - 1)
    counts = torch.bincount(index, minlength=BINS)
    some = counts.clamp(min=1)
    correct = (top == targets).double()
    return (
        counts,
        torch.bincount(index, confidence, minlength=BINS) / some,
        torch.bincount(index, correct, minlength=BINS) / some,
    )


def _shares(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in values.clamp(0, 1).tolist())


def reliability(probabilities: Tensor, targets: Tensor) -> Reliability:
    """Measure the calibration of probabilities (N, K): ECE, Brier score, cross-entropy."""
    classes = probabilities.shape[1]
    truth = torch.nn.functional.one_hot(targets, classes)
    return Reliability(
        ece=calibration_error(probabilities, targets),
        brier=(probabilities - truth).square().sum(1).mean().item(),
        nll=_cross_entropy(probabilities, targets),
        smooth_ece=smooth_calibration_error(probabilities, targets),
        classwise_ece=classwise_calibration_error(probabilities, targets),
    )


def worse_than_softmax(predictions: Predictions) -> str | None:
    """Say by how much calibration raises a split's cross-entropy; None: it does not.

    More than 2 %, or more than two standard errors of the images' differences, is a rise.
    """
    rows = torch.arange(len(predictions.targets)), predictions.targets
    before = -predictions.logits.double().log_softmax(1)[rows]  # (N,)
    after = -predictions.calibrated().double()[rows].clamp(min=1e-12).log()
    rise, plain = (after - before).mean().item(), before.mean().item()
    noise = (after - before).std(correction=0).item() / len(before) ** 0.5
    if rise <= MAX_RISE * plain and rise <= 2 * noise:
        return None
    return f"from {plain:.4f} to {plain + rise:.4f}"


def _cross_entropy(probabilities: Tensor, targets: Tensor) -> float:
    of_target = probabilities.gather(1, targets[:, None]).double()
    return -of_target.clamp(min=1e-12).log().mean().item()


def _top_k(probabilities: Tensor, targets: Tensor, k: int) -> float:
    classes = probabilities.shape[1]
    share = multiclass_accuracy(probabilities, targets, classes, average="micro", top_k=k)
    return round(share.item(), 6)  # torchmetrics counts in float32: 0.94489998 for 0.9449


def write_report(
    folder: Path, evaluation: Evaluation, predictions: Predictions
) -> tuple[Path, ...]:
    """Write the figures as JSON, the confusion matrix and the reliability diagram as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / name for name in ("evaluation.json", "confusion.png", "reliability.png"))
    figures = json.dumps(evaluation.model_dump(), indent=1)
    paths[0].write_text(f"{figures}\n", encoding="utf-8")
    labels = tuple(evaluation.per_label)
    draw_confusion(np.array(evaluation.confusion), labels, paths[1])
    draw_reliability_diagram(paths[2], predictions)
    return paths


def draw_reliability_diagram(path: Path, predictions: Predictions) -> None:
    """Draw the reliability diagram of a split's predictions."""
    probabilities = predictions.calibrated()
    confidence, top = probabilities.max(1)
    correct = (top == predictions.targets).numpy()
    ece = calibration_error(probabilities, predictions.targets)
    draw_reliability(confidence.numpy(), correct, path, ece, BINS)
