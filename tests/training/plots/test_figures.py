"""Figures of a run are drawn, also of runs with gaps and many labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image

from training.plots import fonts
from training.plots.contact_sheet import Tile, draw_sheet
from training.plots.figures import (
    NUMBERED,
    TRAIN,
    VALIDATION,
    draw_confusion,
    draw_curves,
    draw_reliability,
)

HEADER = "epoch,train_loss,train_acc,val_loss,val_acc,learning_rate,seconds,cpu_seconds\n"


def _count(path: Path, colour: str) -> int:
    """Pixels of exactly one colour."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int((pixels == wanted).all(axis=2).sum())


@dataclass
class Shown:
    """What the first axes of a figure said when it was written."""

    ticks: list[str] = field(default_factory=list)
    fonts: list[str] = field(default_factory=list)
    title: str = ""


def _shown_by(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown, save = Shown(), Figure.savefig

    def note(figure: Figure, *arguments: Any, **options: Any) -> None:
        axes = figure.axes[0]
        for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            shown.ticks.append(tick.get_text())
            shown.fonts.append(str(tick.get_fontproperties().get_file()))
        shown.title = axes.get_title()
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", note)
    return shown


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
    confusion[0] = 0  # a label without images

    draw_confusion(confusion, [f"label {at}" for at in range(labels)], tmp_path / "c.png")

    dark_blue = "#08306b"  # the end of the colour map: a row that is all right
    assert _count(tmp_path / "c.png", dark_blue) > 100


def test_a_reliability_diagram_greys_bins_with_too_few_answers(tmp_path: Path) -> None:
    confidence = np.concatenate([np.full(100, 0.95), np.full(3, 0.35)]).astype(np.float32)
    correct = np.arange(103) % 10 > 0

    draw_reliability(confidence, correct, tmp_path / "r.png", ece=0.05, bins=15)

    assert _count(tmp_path / "r.png", TRAIN) > 1_000
    assert _count(tmp_path / "r.png", "#B0B7BF") > 1_000


CHINESE = "\u978b\u5b50"


@pytest.fixture
def only_matplotlibs_fonts(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A machine without further fonts."""
    own = sorted(fonts.DEFAULT_FONT.parent.glob("*.ttf"))
    monkeypatch.setattr(fonts, "installed_fonts", lambda: own)
    return own


@pytest.mark.usefixtures("only_matplotlibs_fonts")
def test_a_label_that_no_font_can_draw_is_shown_by_its_number_and_the_figure_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = _shown_by(monkeypatch)

    draw_confusion(np.eye(2, dtype=np.int64), ["boot", CHINESE], tmp_path / "c.png")

    assert fonts.font_for(CHINESE) is None
    assert shown.ticks == ["boot", "1"] * 2
    assert shown.title == NUMBERED


@pytest.mark.usefixtures("only_matplotlibs_fonts")
def test_a_label_is_drawn_in_an_installed_font_that_has_its_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    special = fonts.DEFAULT_FONT.parent / "STIXNonUni.ttf"
    lacking = sorted(fonts._characters(special) - fonts._characters(fonts.DEFAULT_FONT))
    label = chr(lacking[-1])
    shown = _shown_by(monkeypatch)

    draw_confusion(np.eye(2, dtype=np.int64), ["boot", label], tmp_path / "c.png")

    assert fonts.font_for("boot") == fonts.DEFAULT_FONT
    found = fonts.font_for(label)
    assert found is not None
    assert ord(label) in FT2Font(str(found)).get_charmap()
    assert shown.ticks == ["boot", label] * 2
    assert shown.fonts == [str(fonts.DEFAULT_FONT), str(found)] * 2
    assert shown.title == ""


def test_a_contact_sheet_draws_lines_that_no_font_has(tmp_path: Path) -> None:
    draw_sheet([Tile(np.zeros((8, 8, 3), np.uint8), (CHINESE, "a"))], 4, tmp_path / "s.png")

    assert (tmp_path / "s.png").exists()
