"""The table of epochs, where a process was killed or the disk was full while it was written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("torch")

from tests.training.conftest import limited_files
from training.fit.callbacks.progress import EpochTable
from training.runs.metrics import COLUMNS, read_rows, write_rows

NOTHING = cast("Any", None)


def _write(folder: Path, epochs: int) -> Path:
    rows = [{**dict.fromkeys(COLUMNS, "123.5"), "epoch": epoch} for epoch in range(epochs)]
    write_rows(folder / "metrics.csv", rows)
    return folder / "metrics.csv"


def _resume(metrics: Path, epoch: int) -> None:
    """Begin as a run does that was stopped before this epoch."""
    table = EpochTable(metrics, metrics.with_name("curves.png"), "title")
    table.on_train_start(
        cast("Any", SimpleNamespace(is_global_zero=True, current_epoch=epoch)), NOTHING
    )


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
