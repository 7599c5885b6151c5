"""The table of epochs, where a process was killed or the disk was full while it was written."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("torch")

import torch

from tests.training.conftest import limited_files
from training.data.dataset import MemorySplit
from training.data.loader import loader
from training.fit.callbacks.progress import EpochTable, ProgressBar, epoch_line
from training.fit.trainer import build_trainer
from training.recipe.presets import RECIPES
from training.runs.folder import RunFolder
from training.runs.metrics import COLUMNS, read_rows, write_rows

NOTHING = cast("Any", None)


def _write(folder: Path, epochs: int) -> Path:
    rows = [{**dict.fromkeys(COLUMNS, "123.5"), "epoch": epoch} for epoch in range(epochs)]
    write_rows(folder / "metrics.csv", rows)
    return folder / "metrics.csv"


def _resume(metrics: Path, epoch: int) -> None:
    """Begin as a run does that was stopped before this epoch."""
    table = EpochTable(metrics, metrics.with_name("curves.png"), RECIPES["fast"])
    table.on_train_start(
        cast("Any", SimpleNamespace(is_global_zero=True, current_epoch=epoch)), NOTHING
    )


@pytest.mark.parametrize("is_watched", [False, True])
def test_only_a_terminal_gets_a_progress_bar(
    is_watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: is_watched))

    images = MemorySplit(
        torch.zeros(4, 8, 8, 1, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    )

    trainer, _ = build_trainer(
        RunFolder(tmp_path), RECIPES["fast"], timedelta(minutes=5), loader(images, 2, 0)
    )

    assert isinstance(trainer.progress_bar_callback, ProgressBar) == is_watched
    assert (trainer.progress_bar_callback is None) != is_watched


@pytest.mark.parametrize("cut", [1, 2, 4, 8, 30])
def test_a_last_row_that_was_cut_off_does_not_stop_a_resumed_run(tmp_path: Path, cut: int) -> None:
    metrics = _write(tmp_path, epochs=5)
    whole = read_rows(metrics)
    metrics.write_bytes(metrics.read_bytes()[:-cut])

    _resume(metrics, epoch=5)

    assert read_rows(metrics) == whole[:4]
    assert metrics.read_bytes().endswith(b"\n")


def test_a_resume_on_a_full_disk_loses_no_row(tmp_path: Path) -> None:
    metrics = _write(tmp_path, epochs=5)
    before = metrics.read_bytes()

    with limited_files(50), pytest.raises(OSError, match="File too large"):  # not even the header
        _resume(metrics, epoch=5)

    assert metrics.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_resumed_run_forgets_the_rows_of_epochs_that_it_repeats(tmp_path: Path) -> None:
    metrics = _write(tmp_path, epochs=5)
    whole = read_rows(metrics)

    _resume(metrics, epoch=3)

    assert read_rows(metrics) == whole[:3]


def test_an_epoch_leaves_a_line_with_its_figures_and_the_time_that_is_left() -> None:
    recipe = RECIPES["fast"]
    rows = [
        {**dict.fromkeys(COLUMNS, "0.5"), "epoch": epoch, "val_acc": accuracy}
        for epoch, accuracy in enumerate(("0.7", "0.8"))
    ]

    line = epoch_line(rows, recipe, 90.0)
    worse = epoch_line([*rows, {**rows[0], "epoch": 2}], recipe, 90.0)

    assert line.startswith("epoch 2/3  train_loss 0.5000  train_acc 0.5000  val_loss 0.5000")
    assert line.endswith("val_acc 0.8000 (best)  90 s, about 90 s left")
    assert worse.startswith("epoch 3/3  ")
    assert worse.endswith("val_acc 0.7000  90 s")
