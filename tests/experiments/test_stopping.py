"""An experiment that was stopped goes on where it stopped, with rows of one plan alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from experiments import transfer
from experiments.cli import EXPERIMENTS
from experiments.experiment import Experiment, Row, Setting
from experiments.figures import Rows
from experiments.run import ExperimentError, read_rows, run
from training.data.dataset import Dataset
from training.fit.loop import Outcome
from training.runs.folder import RunFolder


def _counting(calls: list[tuple[str, int]]) -> Experiment:
    def measure(arm: str, setting: Setting) -> Iterator[Row]:
        calls.append((arm, setting.seed))
        if arm == "b" and len(calls) == 2:
            raise KeyboardInterrupt
        yield {"epoch": 1, "train_error": 0.25}

    def draw(rows: Rows, out: Path) -> None:
        out.write_text(str(len(rows)))

    return Experiment(
        name="count",
        title="Count",
        claim="",
        done="",
        arms=("a", "b"),
        epochs=1,
        seeds=2,
        limit=None,
        cost="",
        columns=("epoch", "train_error"),
        measure=measure,
        draw=draw,
        summarize=lambda rows: f"{len(rows)} rows",
    )


def _run_counting(calls: list[tuple[str, int]], few: Dataset, out: Path, epochs: int = 1) -> None:
    run(_counting(calls), few, out, seeds=2, epochs=epochs, limit=None, tell=lambda _: None)


def test_a_run_that_was_stopped_goes_on_where_it_stopped(few: Dataset, tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    with pytest.raises(KeyboardInterrupt):
        _run_counting(calls, few, tmp_path)

    _run_counting(calls, few, tmp_path)

    assert calls == [("a", 0), ("b", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert [(row["arm"], row["seed"]) for row in read_rows(tmp_path / "count.csv")] == [
        ("a", "0"),
        ("b", "0"),
        ("a", "1"),
        ("b", "1"),
    ]
    assert (tmp_path / "count.png").read_text() == "4"


def test_rows_of_different_plans_are_never_mixed(few: Dataset, tmp_path: Path) -> None:
    calls = [("", 0), ("", 0)]
    _run_counting(calls, few, tmp_path)

    with pytest.raises(ExperimentError, match="another epochs; name another folder"):
        _run_counting(calls, few, tmp_path, epochs=2)


def test_a_training_that_was_stopped_by_hand_leaves_no_row(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Outcome(RunFolder(tmp_path), 1, "val_acc", 0.5, interrupted=True)
    monkeypatch.setattr(transfer, "train", lambda *_, **__: stopped)
    experiment, out = EXPERIMENTS["transfer"], tmp_path / "out"

    with pytest.raises(KeyboardInterrupt):
        run(experiment, few, out, seeds=1, epochs=1, limit=None, tell=lambda _: None)

    assert read_rows(out / "transfer.csv") == []
