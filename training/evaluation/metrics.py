"""How good a network is: the same figures for torch and for ONNX.

`evaluate` takes the answers to every picture of a split and lets torchmetrics count.
"""

import json
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from model.artifact.trust import Bins, Reliability
from training.evaluation.predict import Answers
from training.plots.figures import draw_confusion, draw_reliability

BINS = 15


class Evaluation(BaseModel):
    """A network's figures on one split.

    Attributes:
        mirrored_top1: Top-1 of the mean logits of each picture and its mirror image, where
            training mirrored too: what test-time augmentation would add, at twice the cost.
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


def top1(answers: Answers) -> float:
    """Share of the pictures whose likeliest label is the true one."""
    return _top(answers.calibrated(), answers.targets, 1)


def evaluate(
    answers: Answers,
    *,
    labels: tuple[str, ...],
    dataset: str,
    split: str,
    mirrored: Answers | None = None,
) -> Evaluation:
    """Count loss, accuracies, calibration and confusions of a split's answers.

    Args:
        answers: Of the whole split.
        labels: In the order of the targets.
        dataset: Its name.
        split: Its name.
        mirrored: Of the same split, with test-time augmentation.
    """
    classes = len(labels)
    probabilities, targets = answers.calibrated(), answers.targets
    confusion = multiclass_confusion_matrix(probabilities, targets, classes)  # rows: truth
    counts = zip(confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True)
    per_label = [right / pictures if pictures else None for right, pictures in counts]
    return Evaluation(
        dataset=dataset,
        split=split,
        n=len(targets),
        loss=_cross_entropy(probabilities, targets),
        top1=top1(answers),
        top5=_top(probabilities, targets, min(5, classes)),
        ece=calibration_error(probabilities, targets),
        per_label=dict(zip(labels, per_label, strict=True)),
        confusion=confusion.tolist(),
        mirrored_top1=None if mirrored is None else top1(mirrored),
    )


def bins(probabilities: Tensor, targets: Tensor) -> Bins:
    """Sort answers (N, K) into equal bins of confidence: how many, how sure, how often right."""
    counts, confidence, accuracy = _binned(probabilities, targets)
    return Bins(
        n=tuple(counts.tolist()), confidence=_shares(confidence), accuracy=_shares(accuracy)
    )


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Give the expected calibration error of answers (N, K): the bins' gaps, by their counts.

    A confidence of exactly 1 is in the last bin, not in one of its own.
    """
    counts, confidence, accuracy = _binned(probabilities, targets)
    return float(((accuracy - confidence).abs() * counts).sum() / len(targets))


def _binned(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count the answers of each bin (B,), and give their mean confidence and accuracy."""
    confidence, top = probabilities.double().max(1)
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    counts = torch.bincount(place, minlength=BINS)
    some = counts.clamp(min=1)
    right = (top == targets).double()
    return (
        counts,
        torch.bincount(place, confidence, minlength=BINS) / some,
        torch.bincount(place, right, minlength=BINS) / some,
    )


def _shares(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in values.clamp(0, 1).tolist())


def reliability(probabilities: Tensor, targets: Tensor) -> Reliability:
    """Measure how honest probabilities (N, K) are: ECE, Brier score, cross-entropy."""
    classes = probabilities.shape[1]
    truth = torch.nn.functional.one_hot(targets, classes)
    return Reliability(
        ece=calibration_error(probabilities, targets),
        brier=(probabilities - truth).square().sum(1).mean().item(),
        nll=_cross_entropy(probabilities, targets),
    )


def _cross_entropy(probabilities: Tensor, targets: Tensor) -> float:
    of_truth = probabilities.gather(1, targets[:, None]).double()
    return -of_truth.clamp(min=1e-12).log().mean().item()


def _top(probabilities: Tensor, targets: Tensor, k: int) -> float:
    classes = probabilities.shape[1]
    share = multiclass_accuracy(probabilities, targets, classes, average="micro", top_k=k)
    return round(share.item(), 6)  # torchmetrics counts in float32: 0.94489998 for 0.9449


def write_report(folder: Path, evaluation: Evaluation, answers: Answers) -> tuple[Path, ...]:
    """Write the figures as JSON, the confusion matrix and the reliability diagram as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / name for name in ("evaluation.json", "confusion.png", "reliability.png"))
    figures = json.dumps(evaluation.model_dump(), indent=1)
    paths[0].write_text(f"{figures}\n", encoding="utf-8")
    labels = tuple(evaluation.per_label)
    draw_confusion(np.array(evaluation.confusion), labels, paths[1])
    draw_answers(paths[2], answers)
    return paths


def draw_answers(path: Path, answers: Answers) -> None:
    """Draw the reliability diagram of a split's answers."""
    probabilities = answers.calibrated()
    confidence, top = probabilities.max(1)
    right = (top == answers.targets).numpy()
    ece = reliability(probabilities, answers.targets).ece
    draw_reliability(confidence.numpy(), right, path, ece, BINS)
