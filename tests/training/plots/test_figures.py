"""Figures of a run are drawn, also of runs with gaps and many labels."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

import numpy as np
from PIL import Image

from training.plots.figures import TRAIN, VALIDATION, draw_confusion, draw_curves, draw_reliability

HEADER = "epoch,train_loss,train_acc,val_loss,val_acc,learning_rate,seconds,cpu_seconds\n"


def _count(path: Path, colour: str) -> int:
    """Pixels of exactly one colour."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int((pixels == wanted).all(axis=2).sum())


def test_curves_show_both_splits(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(HEADER + "0,2,.1,2.1,.1,1,1,1\n1,1,.5,1.4,.4,1,2,2\n")

    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png", "a run")

    assert _count(tmp_path / "curves.png", TRAIN) > 500
    assert _count(tmp_path / "curves.png", VALIDATION) > 500


def test_curves_leave_a_gap_where_a_figure_is_missing(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(HEADER + "0,2,.1,,,1,1,1\n1,1,.5,,,1,2,2\n")

    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png", "a run")

    in_the_legend = _count(tmp_path / "curves.png", VALIDATION)
    assert _count(tmp_path / "curves.png", TRAIN) > in_the_legend + 500


def test_a_label_is_no_formula(tmp_path: Path) -> None:
    draw_confusion(np.eye(2, dtype=np.int64), ["$x_{$", "5 $"], tmp_path / "c.png")

    assert (tmp_path / "c.png").exists()


@pytest.mark.parametrize("labels", [2, 21, 200])
def test_confusions_of_few_and_of_many_labels_are_drawn(tmp_path: Path, labels: int) -> None:
    confusion = np.eye(labels, dtype=np.int64) * 5
    confusion[0] = 0  # a label without pictures

    draw_confusion(confusion, [f"label {at}" for at in range(labels)], tmp_path / "c.png")

    dark_blue = "#08306b"  # the end of the colour map: a row that is all right
    assert _count(tmp_path / "c.png", dark_blue) > 100


def test_a_reliability_diagram_greys_bins_with_too_few_answers(tmp_path: Path) -> None:
    confidence = np.concatenate([np.full(100, 0.95), np.full(3, 0.35)]).astype(np.float32)
    correct = np.arange(103) % 10 > 0

    draw_reliability(confidence, correct, tmp_path / "r.png", ece=0.05, bins=15)

    assert _count(tmp_path / "r.png", TRAIN) > 1_000
    assert _count(tmp_path / "r.png", "#B0B7BF") > 1_000
