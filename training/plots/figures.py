"""Figures of a run: curves, confusion matrix, reliability diagram."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from training.plots.fonts import font_for

TRAIN, VALIDATION = "#0072B2", "#C44E00"
TOO_FEW = "#B0B7BF"
MAX_NAMED_LABELS = 40
"""More names would overlap on the axes of a confusion matrix."""
MAX_COUNTED_LABELS = 20
"""More numbers would not fit into its cells."""
MIN_BIN_COUNT = 30
"""Bins of a reliability diagram with fewer predictions are grey."""
NUMBERED = "number: a label that no installed font can draw"


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
            name_of = f"{split}, augmented, as optimised" if split == "train" else split
            axes.plot(epochs, values, color=colour, marker="o", markersize=3, label=name_of)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    figure.savefig(out, dpi=120)


def draw_confusion(confusion: NDArray[np.int64], labels: Sequence[str], out: Path) -> None:
    """Draw how often each label (row) was predicted as each (column), as a share of the row.

    A label whose characters no installed font has is shown by its number, and the figure says so.
    """
    shares = confusion / confusion.sum(1, keepdims=True).clip(min=1)
    inches = min(4 + 0.45 * len(labels), 20)
    figure = Figure(figsize=(inches + 1, inches), layout="constrained")
    axes = figure.subplots()
    matrix = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(matrix, label="share of the row")
    axes.set(xlabel="predicted label", ylabel="true label")
    if len(labels) <= MAX_NAMED_LABELS:
        _name_ticks(axes, labels)
    if len(labels) <= MAX_COUNTED_LABELS:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = str(confusion[row, column])
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(out, dpi=120)


def _name_ticks(axes: Axes, labels: Sequence[str]) -> None:
    """Write the labels on both axes, each in a font that has its characters."""
    fonts = [font_for(label) for label in labels]
    names = [
        str(number) if font is None else label.replace("$", r"\$")  # no formulas
        for number, (label, font) in enumerate(zip(labels, fonts, strict=True))
    ]
    axes.set_xticks(range(len(labels)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), names)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for tick, font in zip(ticks, fonts, strict=True):
            if font is not None:
                tick.set_fontproperties(FontProperties(fname=font, size=tick.get_fontsize()))
    if None in fonts:
        axes.set_title(NUMBERED, fontsize="small")


def draw_reliability(
    confidence: NDArray[np.float32],
    correct: NDArray[np.bool_],
    out: Path,
    ece: float,
    bins: int,
) -> None:
    """Draw accuracy against confidence in equal bins, and the number of predictions in each.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv 1706.04599).
    """
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.digitize(confidence, edges[1:-1]), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    accuracy = np.bincount(index, correct, minlength=bins) / counts.clip(min=1)
    figure = Figure(figsize=(5, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    centres, width = (edges[:-1] + edges[1:]) / 2, 1 / bins
    colours = [TRAIN if count >= MIN_BIN_COUNT else TOO_FEW for count in counts]
    top.bar(centres, accuracy, width, color=colours, edgecolor="white")
    top.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
    top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    top.set_title(f"ECE {100 * ece:.2f} % over {len(confidence):,} images, {bins} bins")
    bottom.bar(centres, counts, width, color=colours, edgecolor="white")
    bottom.set(xlabel="confidence", ylabel="images")
    figure.savefig(out, dpi=120)
