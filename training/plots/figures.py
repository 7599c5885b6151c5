"""Figures of a run: curves, confusion matrix, reliability diagram."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

TRAIN, VALIDATION = "#0072B2", "#C44E00"


def draw_curves(metrics: Path, out: Path, title: str) -> None:
    """Draw loss and accuracy of both splits, epoch by epoch."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name, label in ((left, "loss", "cross-entropy"), (right, "acc", "accuracy")):
        for split, colour in (("train", TRAIN), ("val", VALIDATION)):
            epochs = [int(row["epoch"]) + 1 for row in rows]
            values = [float(row[f"{split}_{name}"] or "nan") for row in rows]
            axes.plot(epochs, values, color=colour, marker="o", markersize=3, label=split)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    figure.savefig(out, dpi=120)


def draw_confusion(confusion: NDArray[np.int64], labels: Sequence[str], out: Path) -> None:
    """Draw how often each label (row) was taken for each (column), as a share of the row."""
    shares = confusion / confusion.sum(1, keepdims=True).clip(min=1)
    side = min(4 + 0.45 * len(labels), 20)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the row")
    axes.set(xlabel="answer", ylabel="truth")
    if len(labels) <= 40:  # more names would lie over one another
        names = [label.replace("$", r"\$") for label in labels]  # no formulas
        axes.set_xticks(range(len(labels)), names, rotation=60, ha="right")
        axes.set_yticks(range(len(labels)), names)
    if len(labels) <= 20:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = str(confusion[row, column])
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(out, dpi=120)


def draw_reliability(
    confidence: NDArray[np.float32],
    correct: NDArray[np.bool_],
    out: Path,
    ece: float,
    bins: int,
) -> None:
    """Draw accuracy against confidence in equal bins, and how many answers lie in each.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv 1706.04599).
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(confidence, edges[1:-1]), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    accuracy = np.bincount(place, correct, minlength=bins) / counts.clip(min=1)
    figure = Figure(figsize=(5, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    centres, width = (edges[:-1] + edges[1:]) / 2, 1 / bins
    colours = [TRAIN if count >= 30 else "#B0B7BF" for count in counts]  # grey: too few to tell
    top.bar(centres, accuracy, width, color=colours, edgecolor="white")
    top.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    top.set_title(f"ECE {100 * ece:.2f} % over {len(confidence):,} pictures, {bins} bins")
    bottom.bar(centres, counts, width, color=colours, edgecolor="white")
    bottom.set(xlabel="confidence", ylabel="pictures")
    figure.savefig(out, dpi=120)
