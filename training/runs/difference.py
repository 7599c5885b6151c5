"""What tells two runs apart: recipe, data, first weights, versions, and the figures."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from training.runs.folder import RunFolder
from training.runs.metrics import read_rows
from training.runs.reading import read_record
from training.runs.record import RunRecord

FIGURES = ("n", "loss", "top1", "top5", "ece")
"""Of `evaluation.json`."""
ABSENT = "-"


def difference(first: Path, second: Path) -> list[tuple[str, str, str]]:
    """Compare two run folders.

    Returns:
        Name and both values of each field that differs; the figures are always there.

    Raises:
        CheckpointError: If one of them cannot be read.
    """
    one, other = (dict(_fields(read_record(run))) for run in (first, second))
    names = dict.fromkeys((*one, *other))
    rows = [(name, one.get(name, ABSENT), other.get(name, ABSENT)) for name in names]
    figures, others = (_figures(RunFolder(run)) for run in (first, second))
    measured = [(name, value, others[name]) for name, value in figures.items()]
    return [row for row in rows if row[1] != row[2]] + measured


def _fields(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield the record's values under dotted names, but for its date."""
    content = record.model_dump(mode="json", exclude={"created", "schema_version", "loss_weights"})
    yield from _flat(content)


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = ABSENT if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _figures(run: RunFolder) -> dict[str, str]:
    """Collect a run's figures; a dash for each that it has not, or whose file is damaged."""
    try:
        rows = read_rows(run.metrics)
        figures = {
            "epochs": str(len(rows)),
            "best val_acc": _best(rows, "val_acc", max),
            "best val_loss": _best(rows, "val_loss", min),
            "minutes": f"{float(rows[-1]['seconds']) / 60:.1f}" if rows else ABSENT,
        }
    except (KeyError, TypeError, ValueError):
        figures = dict.fromkeys(("epochs", "best val_acc", "best val_loss", "minutes"), ABSENT)
    try:
        measured = json.loads((run.path / "evaluation.json").read_bytes())
        found = {name: float(measured[name]) for name in FIGURES}
    except (OSError, KeyError, TypeError, ValueError):
        return figures | dict.fromkeys((f"evaluated {name}" for name in FIGURES), ABSENT)
    return figures | {f"evaluated {name}": f"{value:.4g}" for name, value in found.items()}


def _best(
    rows: list[dict[str, str]], column: str, better: Callable[[Iterable[float]], float]
) -> str:
    values = [float(row[column]) for row in rows if row[column]]
    return f"{better(values):.4f}" if values else ABSENT
