"""Repeat an experiment over seeds, and write its rows.

The rows of one repetition of an arm are written when it is complete. Repetitions that are in the
CSV are not run again, so a run that was stopped continues there. A JSON file beside the CSV records
the plan: figures of different plans are never mixed in one file.
"""

import csv
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from experiments.experiment import Experiment, Row, Setting
from experiments.figures import Rows
from training.data.dataset import Dataset, Split, random_subset
from training.runs.environment import commit, now


class ExperimentError(Exception):
    """An experiment cannot run or continue; the message says why and what to do."""


def run(  # noqa: PLR0913  # what, on what, how often, where
    experiment: Experiment,
    dataset: Dataset,
    out: Path,
    *,
    seeds: int,
    epochs: int,
    limit: int | None,
    tell: Callable[[str], None],
) -> None:
    """Run the missing repetitions, and draw the figure.

    Args:
        experiment: The question.
        dataset: `limit` cuts its training split.
        out: Folder of the CSV, the figure and the record.
        seeds: 0, 1, ... are run.
        epochs: Of each training.
        limit: Training images; None takes all.
        tell: Called with a line about each repetition.

    Raises:
        ExperimentError: If the folder holds rows of another plan.
    """
    out.mkdir(parents=True, exist_ok=True)
    if limit is not None:
        dataset = replace(dataset, train=first(dataset, limit))
    plan = {
        "experiment": experiment.name,
        "epochs": epochs,
        "pictures": len(dataset.train),
        "dataset": dataset.name,
        "dataset_sha256": dataset.sha256,
    }
    record = _resume(out / f"{experiment.name}.json", plan)
    table = out / f"{experiment.name}.csv"
    for seed in range(seeds):
        for arm in experiment.arms:
            if any(row["arm"] == arm and row["seed"] == str(seed) for row in read_rows(table)):
                tell(f"{experiment.name}: {arm}, seed {seed}: is done already")
                continue
            began = time.process_time()
            measured = list(experiment.measure(arm, Setting(dataset, seed, epochs)))
            _append(table, experiment, arm, seed, measured)
            spent = time.process_time() - began
            record["cpu_seconds"] = round(record["cpu_seconds"] + spent)
            record["finished"] = now()
            _write_whole(out / f"{experiment.name}.json", json.dumps(record, indent=1) + "\n")
            tell(f"{experiment.name}: {arm}, seed {seed}: {spent:.0f} s of CPU time")
    experiment.draw(read_rows(table), out / f"{experiment.name}.png")


def first(dataset: Dataset, count: int) -> Split:
    """Take so many training images; at random from a folder, whose files are sorted by label."""
    if not dataset.files:
        return dataset.train[:count]
    return dataset.train[random_subset(len(dataset.train), count)]


def _resume(path: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Read the record of an earlier run of the same plan, or start one."""
    fresh = {
        "plan": dict(plan),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit(),
        "cpu_seconds": 0,
    }
    if not path.exists():
        return fresh
    earlier: dict[str, Any] = json.loads(path.read_bytes())
    if earlier["plan"] != fresh["plan"]:
        changed = [name for name, value in plan.items() if earlier["plan"].get(name) != value]
        raise ExperimentError(
            f"{path.parent} holds a run of {plan['experiment']} with another "
            f"{' and '.join(changed)}; name another folder with --out, or delete "
            f"{path.stem}.csv and {path.name} there."
        )
    return earlier


def _append(table: Path, experiment: Experiment, arm: str, seed: int, measured: list[Row]) -> None:
    """Write the rows of one repetition, all or none."""
    columns = ("arm", "seed", *experiment.columns)
    rows: list[Row] = [*read_rows(table)]
    rows += [{"arm": arm, "seed": seed, **row} for row in measured]
    temporary = table.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _short(row[name]) for name in columns} for row in rows)
    temporary.replace(table)


def _short(value: str | int | float) -> str | int:
    return f"{value:.6g}" if isinstance(value, float) else value


def _write_whole(path: Path, content: str) -> None:
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


def read_rows(table: Path) -> Rows:
    """Read an experiment's CSV; no rows where there is none."""
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def processor() -> str:
    """Return the processor's name, and how many cores this process may use."""
    names = [
        line.partition(":")[2].strip()
        for line in _read_lines(Path("/proc/cpuinfo"))
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else 'unknown processor'}, {cores} cores"


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
