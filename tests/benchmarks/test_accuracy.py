"""`benchmarks.train accuracy`: a row tells of the runs that it names, and of no others."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from PIL import Image

from benchmarks import accuracy
from benchmarks.accuracy import keep, measure_accuracy
from benchmarks.train import RESULTS, app
from tests.conftest import Command, MakeImages
from training.cli.main import evaluate_script, train_script
from training.errors import TrainingError
from training.recipe.presets import get_recipe

QUICK = ["epochs=1", "batch_size=16"]


@pytest.fixture
def images(make_images: MakeImages) -> Path:
    return make_images(labels={"boot": 14, "coat": 14}, image_size=14)


@pytest.fixture
def called(command: Command, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the commands in this process, and remember how they were called."""
    scripts = {"train_script": train_script, "evaluate_script": evaluate_script}
    lines: list[str] = []

    def call(script: str, arguments: list[str]) -> None:
        lines.append(" ".join([script, *arguments]))
        finished = command(scripts[script], *arguments)
        assert finished.code == 0, finished.err

    monkeypatch.setattr(accuracy, "_call", call)
    return lines


def test_a_run_is_taken_as_it_is_and_tells_where_it_comes_from(
    called: list[str], images: Path, tmp_path: Path
) -> None:
    measure_accuracy("fast", 1, QUICK, tmp_path, images)
    run = tmp_path / "fast-images-epochs=1-batch_size=16-0"
    record = json.loads((run / "run.json").read_text())
    then = {"commit": "0123456789ab", "created": "2026-01-01T00:00:00+00:00", "torch": "2.0"}
    (run / "run.json").write_text(json.dumps({**record, **then}))
    called.clear()

    row = measure_accuracy("fast", 1, QUICK, tmp_path, images)

    assert called == []
    assert (row["recipe"], row["data"], row["changes"]) == ("fast", "images", QUICK)
    (run_row,) = row["runs"]
    assert (run_row["commit"], run_row["date"], run_row["torch"]) == tuple(then.values())
    assert run_row["threads"] == record["environment"]["threads"]
    assert run_row["processor"] == record["environment"]["processor"]


def test_a_run_of_another_recipe_or_of_other_images_is_refused(
    called: list[str], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_accuracy("fast", 1, QUICK, tmp_path, images)
    called.clear()
    edited = get_recipe("fast", QUICK).model_copy(update={"random_shift": 1})

    with monkeypatch.context() as patch:
        patch.setattr(accuracy, "get_recipe", lambda *_: edited)
        with pytest.raises(
            TrainingError, match=r"is of another random_shift \(2\), not 1;"
        ) as first:
            measure_accuracy("fast", 1, QUICK, tmp_path, images)

    Image.new("L", (14, 14)).save(images / "boot" / "3.png")
    with pytest.raises(TrainingError, match="is of another data set, by its SHA-256") as second:
        measure_accuracy("fast", 1, QUICK, tmp_path, images)

    assert called == []
    assert "\n" not in f"{first.value}{second.value}"


def test_a_run_that_was_stopped_goes_on(called: list[str], images: Path, tmp_path: Path) -> None:
    measure_accuracy("fast", 1, QUICK, tmp_path, images)
    (evaluation,) = tmp_path.glob("*/evaluation.json")
    evaluation.unlink()
    called.clear()

    measure_accuracy("fast", 1, QUICK, tmp_path, images)

    assert [line.split()[0] for line in called] == ["train_script", "evaluate_script"]
    assert called[0].endswith(" --resume")
    assert evaluation.exists()


def test_rows_of_other_data_and_of_other_times_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "results" / "train-accuracy.json"
    first, second = _row("fast", "fashion-mnist", 5.0), _row("fast", "images", 3.0)
    keep(first, path)
    keep(second, path)

    rows = keep(_row("fast", "images", 9.0), path)

    assert rows == [first, _row("fast", "images", 9.0)]
    assert json.loads(path.read_text()) == {"results": rows}


def _row(recipe: str, data: str, seconds: float) -> dict[str, Any]:
    run = {"seed": 0, "commit": f"of {seconds}", "cpu_seconds": seconds}
    return {"recipe": recipe, "data": data, "changes": [], "runs": [run]}


def test_every_run_that_is_published_tells_where_it_comes_from() -> None:
    rows = json.loads((RESULTS / "train-accuracy.json").read_text())["results"]

    for row in rows:
        assert row["data"]
        for run in row["runs"]:
            assert all(run[name] for name in ("commit", "date", "torch", "processor", "threads"))


def test_a_command_that_failed_ends_the_measurement_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(SystemExit) as ended:
        accuracy._call("train_script", [])

    assert ended.value.code == 1


def test_a_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.train", "accuracy", "slow"])

    with pytest.raises(
        SystemExit, match=r"^error: There is no recipe 'slow'; the recipes are .*\.$"
    ):
        app()
