"""A table of the runs in a folder."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.table import Table

from training.runs.folder import RunFolder
from training.runs.metrics import monitored_values, read_rows, run_state
from training.runs.reading import read_record
from training.runs.record import CheckpointError, RunRecord


@dataclass(frozen=True)
class Row:
    """What the table shows of a run.

    Attributes:
        name: Its folder, relative to where the table begins.
        record: Of the run.
        epochs: That were finished.
        best: The recipe's `monitor`, on the validation split; None before the first epoch.
        test: Top-1 on the test split, where `evaluate-model` was run.
        seconds: Of training, over all its parts where it was resumed.
        state: As `run_state` has it, or "damaged".
        val_acc: The best one, whatever the recipe monitors.
        val_loss: The best one.
    """

    name: str
    record: RunRecord
    epochs: int
    best: float | None
    test: float | None
    seconds: float
    state: str
    val_acc: float | None = None
    val_loss: float | None = None


MARKS = ("run.json", "recipe.json")
"""A folder with one of them is a run's; older runs have no run.json."""


def read_runs(root: Path) -> tuple[list[Row], list[str]]:
    """Read every run at or below a folder, the latest last.

    Returns:
        The runs, and a line for each record that cannot be read or was read in part.
    """
    found: list[Row] = []
    notes: list[str] = []
    for place in sorted({path.parent for name in MARKS for path in root.rglob(name)}):
        try:
            record = read_record(place)
        except CheckpointError as error:
            notes.append(f"unreadable: {error}")
            continue
        notes += record.notes(place)
        try:
            found.append(_row(str(place.relative_to(root)), RunFolder(place), record))
        except (KeyError, TypeError, ValueError):  # a file that was cut off
            found.append(Row(str(place.relative_to(root)), record, 0, None, None, 0.0, "damaged"))
    return sorted(found, key=lambda row: row.record.created), notes


def _row(name: str, folder: RunFolder, record: RunRecord) -> Row:
    rows, recipe = read_rows(folder.metrics), record.recipe
    values = monitored_values(rows, recipe)
    better = max if recipe.monitor == "val_acc" else min
    evaluation = folder.path / "evaluation.json"
    return Row(
        name=name,
        record=record,
        epochs=len(rows),
        best=better(values) if values else None,
        test=json.loads(evaluation.read_bytes())["top1"] if evaluation.is_file() else None,
        seconds=float(rows[-1]["seconds"]) if rows else 0.0,
        state=run_state(rows, recipe),
        val_acc=max(_values(rows, "val_acc"), default=None),
        val_loss=min(_values(rows, "val_loss"), default=None),
    )


def _values(rows: list[dict[str, str]], column: str) -> list[float]:
    return [float(row[column]) for row in rows if row[column]]


SORTS: Mapping[str, Callable[[Row], Any]] = MappingProxyType(
    {
        "date": lambda row: row.record.created,
        "name": lambda row: row.name,
        "recipe": lambda row: row.record.recipe.name,
        "val_acc": lambda row: _sorted_by(row.val_acc),
        "val_loss": lambda row: _sorted_by(row.val_loss, smallest=True),
        "test": lambda row: _sorted_by(row.test),
        "time": lambda row: row.seconds,
    }
)
"""How the table may be sorted; the best run comes last, where the eye is."""


def _sorted_by(value: float | None, *, smallest: bool = False) -> float:
    """Put a run without the figure first."""
    if value is None:
        return -math.inf
    return -value if smallest else value


def sort_runs(rows: list[Row], by: str) -> list[Row]:
    """Sort by one of `SORTS`; runs that are equal stay in the order of their dates."""
    return sorted(rows, key=SORTS[by])


def draw_table(rows: list[Row]) -> Table:
    """Lay the runs out for a terminal."""
    table = Table()
    for title in ("run", "recipe", "architecture", "data"):
        table.add_column(title)
    for title in ("epochs", "best", "test top-1", "time"):
        table.add_column(title, justify="right")
    table.add_column("state")
    for row in rows:
        recipe = row.record.recipe
        table.add_row(
            row.name,
            recipe.name,
            row.record.architecture.name,
            row.record.dataset,
            f"{row.epochs} of {recipe.epochs}",
            "" if row.best is None else f"{recipe.monitor} {row.best:.4f}",
            "" if row.test is None else f"{row.test:.2%}",
            f"{row.seconds / 60:.1f} min",
            row.state,
        )
    return table


def draw_difference(names: tuple[str, str], rows: list[tuple[str, str, str]]) -> Table:
    """Lay out what tells two runs apart."""
    table = Table("field", *names)
    for row in rows:
        table.add_row(*row)
    return table
