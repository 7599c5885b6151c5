"""A table of the runs in a folder."""

import json
from dataclasses import dataclass
from pathlib import Path

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
    """

    name: str
    record: RunRecord
    epochs: int
    best: float | None
    test: float | None
    seconds: float
    state: str


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
    )


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
