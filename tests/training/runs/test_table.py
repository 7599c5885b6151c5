"""The table of runs, read from folders as runs leave them."""

import csv
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.conftest import Command
from training.cli.runs import main
from training.fit.loop import Outcome
from training.runs.metrics import COLUMNS
from training.runs.table import read_runs


@pytest.fixture
def runs(trained: Outcome, tmp_path: Path) -> Path:
    """One finished run, and the same with fewer rows, with more patience, with nothing."""
    for name in ("whole", "deeper/cut", "begun"):
        shutil.copytree(trained.folder.path, tmp_path / "runs" / name)
    _write(tmp_path / "runs/deeper/cut/metrics.csv", [("0.30", "5.0"), ("0.25", "6.5")])
    _write(tmp_path / "runs/begun/metrics.csv", [])
    (tmp_path / "runs/whole/evaluation.json").write_text('{"top1": 0.8125}')
    return tmp_path / "runs"


def _write(metrics: Path, rows: list[tuple[str, str]]) -> None:
    with metrics.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="0")
        table.writeheader()
        for epoch, (accuracy, seconds) in enumerate(rows):
            table.writerow({"epoch": epoch, "val_acc": accuracy, "seconds": seconds})


def test_each_run_is_reported_with_its_best_epoch_and_its_state(
    runs: Path, trained: Outcome
) -> None:
    rows = {row.name: row for row in read_runs(runs)[0]}

    assert set(rows) == {"whole", "deeper/cut", "begun"}
    whole, cut, begun = rows["whole"], rows["deeper/cut"], rows["begun"]
    assert (whole.epochs, whole.state, whole.test) == (3, "finished", 0.8125)
    assert whole.best == pytest.approx(trained.best, abs=1e-5)
    assert (cut.epochs, cut.best, cut.state, cut.test) == (2, 0.30, "not finished", None)
    assert cut.seconds == 6.5
    assert (begun.epochs, begun.best, begun.seconds) == (0, None, 0)


def test_a_run_that_stopped_early_is_finished_in_its_way(runs: Path) -> None:
    record = runs / "deeper/cut/run.json"
    record.write_text(record.read_text().replace('"early_stopping": null', '"early_stopping": 1'))
    _write(runs / "deeper/cut/metrics.csv", [("0.30", "1"), ("0.25", "2")])

    states = {row.name: row.state for row in read_runs(runs)[0]}

    assert states["deeper/cut"] == "stopped early"


def test_the_command_prints_the_table(command: Command, runs: Path) -> None:
    finished = command(main, runs)

    assert finished.code == 0
    assert "81.25%" in finished.out
    assert "3 of 3" in finished.out
    assert "deeper/cut" in finished.out


@pytest.mark.parametrize("name", ["metrics.csv", "evaluation.json"])
def test_a_run_with_a_damaged_file_is_reported_among_the_others(
    name: str, command: Command, runs: Path
) -> None:
    path = runs / "whole" / name
    path.write_bytes(path.read_bytes()[:-20] + b"\n" if name == "metrics.csv" else b"{")

    finished = command(main, runs)

    assert finished.code == 0, finished.err
    assert "damaged" in finished.out


def test_a_run_of_another_version_is_named_beside_the_table(command: Command, runs: Path) -> None:
    _make_strange(runs / "whole/run.json")

    finished = command(main, runs)

    assert finished.code == 0
    assert "deeper/cut" in finished.out
    (line,) = finished.err.splitlines()
    assert line.startswith(f"unreadable: {runs / 'whole/run.json'} has a run's record of another")


def test_where_every_run_is_of_another_version_it_says_so(command: Command, runs: Path) -> None:
    for record in runs.rglob("run.json"):
        _make_strange(record)

    finished = command(main, runs)

    assert finished.code == 1
    *lines, error = finished.err.splitlines()
    assert len(lines) == 3
    assert error.startswith(f"error: There is no run that can be read in {runs};")


def _make_strange(record: Path) -> None:
    """Put a field into a run's recipe that recipes do not have."""
    record.write_text(record.read_text().replace('"recipe": {', '"recipe": {"mutual": 0.5,', 1))


def test_where_there_is_no_run_it_says_so(command: Command, tmp_path: Path) -> None:
    finished = command(main, tmp_path)

    assert finished.code == 1
    assert finished.err == f"error: There is no run in {tmp_path}; `train-model` creates one.\n"


def test_the_table_is_sorted_and_the_best_run_is_last(command: Command, runs: Path) -> None:
    _write(runs / "begun/metrics.csv", [("0.99", "3.0")])

    by_accuracy = command(main, runs, "--sort", "val_acc").out
    by_time = command(main, runs, "--sort", "time").out
    bad = command(main, runs, "--sort", "accuracy")

    assert by_accuracy.rindex("begun") > by_accuracy.rindex("deeper/cut")
    assert by_time.rindex("deeper/cut") > by_time.rindex("begun")
    assert bad.code == 2
    assert "must be one of date, name, recipe" in bad.err


def test_two_runs_are_told_apart_by_what_differs_and_by_their_figures(
    command: Command, runs: Path
) -> None:
    record = runs / "deeper/cut/run.json"
    record.write_text(
        record.read_text().replace('"seed": 3', '"seed": 4').replace('"epochs": 3', '"epochs": 7')
    )

    finished = command(main, "--diff", runs / "whole", runs / "deeper/cut")

    assert finished.code == 0, finished.err
    lines = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in finished.out.splitlines()
        if line.startswith("│")
    ]
    fields = {name: values for name, *values in lines}
    assert fields["seed"] == ["3", "4"]
    assert fields["recipe.epochs"] == ["3", "7"]
    assert fields["epochs"] == ["3", "2"]
    assert fields["best val_acc"][1] == "0.3000"
    assert fields["evaluated top1"] == ["-", "-"]
    assert "recipe.batch_size" not in fields
    assert "torch" not in fields


def test_a_folder_that_is_no_run_has_no_difference(command: Command, runs: Path) -> None:
    finished = command(main, "--diff", runs / "whole", runs)

    assert finished.code == 1
    assert finished.err.startswith("error: There is no checkpoint at ")
