"""What accuracy a recipe buys for how many CPU seconds, by whole runs of `train-model`.

Each run is a process of its own, in a folder named after recipe, data, changes and seed. One
that is finished is not run again, one that was stopped goes on, and one of another recipe or
of other images under that name is refused. The result has, from each run's record, when it began,
with which commit, which torch and where. (For `fast` and `default`, which are older: when and
with which commit the result was written.)
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from training.data.open import read_dataset
from training.errors import TrainingError
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe, compare_recipes
from training.runs.folder import RunFolder
from training.runs.reading import read_record
from training.runs.record import RunRecord

Row = dict[str, Any]
"""A recipe's name, its data's, what was changed in it, and its runs; as JSON."""

MARKS = (0.90, 0.921, 0.94, 0.95)
"""Validation accuracies: the first epoch that reaches each is reported. The best of `baseline` is
92.1 %."""


def measure_accuracy(
    name: str, seeds: int, changes: list[str], out: Path, data: Path | None = None
) -> Row:
    """Train and evaluate a recipe once a seed, on Fashion-MNIST or another folder's images.

    Returns:
        Test accuracy and CPU seconds of each seed, with the epochs' validation accuracy.

    Raises:
        CheckpointError: If a run's folder is there, and its record cannot be read.
        DatasetError: If the images cannot be read.
        RecipeError: If there is no such recipe, or a change does not fit it.
        TrainingError: If a run that is there is of another recipe or of other images.
    """
    recipe = get_recipe(name, changes)
    place = [] if data is None else ["--data", str(data)]
    settings = [part for change in changes for part in ("--set", change)]
    runs = []
    images, sha256 = _identity(data, recipe.image_size)
    for seed in range(seeds):
        run = RunFolder(out / "-".join([name, images, *changes, str(seed)]))
        if run.record.exists():
            _check_same_recipe(run, recipe, sha256)
        if not _evaluation(run).exists():
            begun = ["--resume"] if run.last.exists() else []
            train = ["--recipe", name, "--seed", str(seed), "--out", str(run.path), *settings]
            _call("train_script", [*train, *place, *begun])
            _call("evaluate_script", [str(run.path), *place])
        runs.append(_figures(run, seed))
        top1, cpu = runs[-1]["test_top1"], runs[-1]["cpu_seconds"]
        print(f"{run.path.name}: {top1:.2%} on the test split after {cpu:,.0f} CPU s", flush=True)
    return {"recipe": name, "data": images, "changes": changes, "runs": runs}


def _identity(data: Path | None, size: int | None) -> tuple[str, str]:
    """Give the name and SHA-256 that a run knows its images by; let go of them."""
    dataset = read_dataset(data, size)
    return dataset.name, dataset.sha256


def _check_same_recipe(run: RunFolder, recipe: Recipe, sha256: str) -> None:
    """Refuse to take a run for what is asked.

    Raises:
        TrainingError: If its recipe or its images are others.
    """
    for what, was, is_now in _compared(read_record(run.path), recipe, sha256):
        if was != is_now:
            raise TrainingError(
                f"{run.path} is of another {what} ({was}), not {is_now}; "
                "delete it, or name another folder with --out."
            )


def _compared(
    record: RunRecord, recipe: Recipe, sha256: str
) -> Iterator[tuple[str, object, object]]:
    """Name what makes a run that of a recipe, with the value in the run and the one asked for."""
    yield from compare_recipes(record.recipe, recipe)
    yield "data set, by its SHA-256,", record.dataset_sha256, sha256


def _evaluation(run: RunFolder) -> Path:
    return run.path / "evaluation.json"


def _call(script: str, arguments: list[str]) -> None:
    """Run one of our commands; what it had to say of a failure is on the screen by then."""
    code = f"from training.cli.main import {script}; {script}()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def _figures(run: RunFolder, seed: int) -> dict[str, Any]:
    """Give the figures of a run, and the facts of its record."""
    record, evaluation = read_record(run.path), json.loads(_evaluation(run).read_bytes())
    with run.metrics.open(newline="", encoding="utf-8") as file:
        epochs = [
            (float(row["cpu_seconds"]), float(row["val_acc"])) for row in csv.DictReader(file)
        ]
    here = record.environment
    return {
        "seed": seed,
        "commit": record.commit,
        "date": record.created,
        "torch": record.torch,
        "processor": here and here.processor,
        "threads": here and here.threads,
        "n": evaluation["n"],
        "test_top1": evaluation["top1"],
        "mirrored_top1": evaluation["mirrored_top1"],
        "cpu_seconds": epochs[-1][0],
        "epochs": epochs,
    }


def keep(row: Row, path: Path) -> list[Row]:
    """Put a row among those of a file, in the place of an earlier one of the same, if any.

    Returns:
        All rows, the cheapest recipe first, as they are in the file now.
    """
    earlier = json.loads(path.read_bytes())["results"] if path.exists() else []
    rows = [one for one in earlier if _key(one) != _key(row)]
    rows = sorted([*rows, row], key=lambda one: one["runs"][0]["cpu_seconds"])
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"results": rows}, indent=1) + "\n", encoding="utf-8")
    return rows


def _key(row: Row) -> tuple[str, str, list[str]]:
    return row["recipe"], row["data"], row["changes"]


def report(rows: list[Row], out: Path) -> None:
    """Print the table of recipes, and draw accuracy against CPU seconds."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    marks = "".join(f" to {mark:.1%} |" for mark in MARKS)
    print(f"| recipe | data | seeds | test top-1 | CPU s |{marks}")
    print("| --- | --- | --- | --- | --- |" + " --- |" * len(MARKS))
    for row in rows:
        name = " ".join([row["recipe"], *row["changes"]])
        top1 = [run["test_top1"] for run in row["runs"]]
        spread = f" ± {100 * stdev(top1):.2f}" if len(top1) > 1 else ""
        cpu = mean(run["cpu_seconds"] for run in row["runs"])
        reached = "".join(f" {cpu_to(mark, row['runs'])} |" for mark in MARKS)
        cells = (name, row["data"], len(top1), f"{mean(top1):.2%}{spread}", f"{cpu:,.0f}")
        print(f"| {' | '.join(map(str, cells))} |{reached}")
        (line,) = axes.plot(
            *zip(*row["runs"][0]["epochs"], strict=True), label=f"{name} on {row['data']}"
        )
        axes.scatter(
            [run["cpu_seconds"] for run in row["runs"]], top1, color=line.get_color(), zorder=3
        )
    axes.set(xscale="log", xlabel="CPU seconds", ylabel="accuracy", ylim=(0.8, 0.97))
    axes.set_title("Lines: validation split, epoch by epoch. Dots: test split, at the end.")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=120)


def cpu_to(mark: float, runs: list[dict[str, Any]]) -> str:
    """Give the CPU seconds, on average, until the validation accuracy reached a mark.

    An epoch is as fine as it gets; a dash stands where some run never did.
    """
    firsts = [
        next((cpu for cpu, accuracy in run["epochs"] if accuracy >= mark), None) for run in runs
    ]
    found = [cpu for cpu in firsts if cpu is not None]
    return f"{mean(found):,.0f}" if len(found) == len(runs) else "-"
