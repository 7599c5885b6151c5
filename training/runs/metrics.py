"""`metrics.csv`: a row an epoch."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.artifact.durable import replace_synced
from model.artifact.provenance import Cost
from training.recipe.recipe import Recipe
from training.runs.environment import Environment

COLUMNS = (
    "epoch",
    "train_loss",
    "train_acc",
    "val_loss",
    "val_acc",
    "learning_rate",
    "seconds",
    "cpu_seconds",
)


def cost_of(metrics: Path, environment: Environment | None) -> Cost | None:
    """Sum up what a run cost; None where its table or its record does not say.

    Args:
        metrics: The run's CSV file.
        environment: Where it ran.
    """
    rows = read_rows(metrics)
    if not rows or environment is None:
        return None
    return Cost(
        epochs=len(rows),
        seconds=float(rows[-1]["seconds"]),
        cpu_seconds=float(rows[-1]["cpu_seconds"]),
        threads=environment.threads,
        processor=environment.processor,
    )


def read_rows(metrics: Path) -> list[dict[str, str]]:
    """Read the table of epochs; none where there is no file.

    A last row without its line's end was cut off, perhaps within a number: it is left out.
    """
    if not metrics.exists():
        return []
    whole, end, _ = metrics.read_bytes().rpartition(b"\n")
    return list(csv.DictReader(io.StringIO((whole + end).decode(), newline="")))


def monitored_values(rows: Sequence[Mapping[str, str]], recipe: Recipe) -> list[float]:
    """List the recipe's `monitor` of each epoch that has it."""
    return [float(row[recipe.monitor]) for row in rows if row[recipe.monitor]]


def run_state(rows: Sequence[Mapping[str, str]], recipe: Recipe) -> str:
    """Find out from a run's table of epochs whether it came to its end.

    Returns:
        "finished", "stopped early", or "not finished": interrupted, killed or still running.
    """
    values, patience = monitored_values(rows, recipe), recipe.early_stopping
    if values and patience:
        best = (max if recipe.monitor == "val_acc" else min)(values)
        if len(rows) - values.index(best) > patience:
            return "stopped early"
    return "finished" if len(rows) >= recipe.epochs else "not finished"


def write_rows(metrics: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table of epochs anew, whole or not at all.

    Raises:
        OSError: If it cannot be written; the old one is still there.
    """
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, COLUMNS)
    table.writeheader()
    table.writerows(rows)
    replace_synced(metrics, file.getvalue().encode())
