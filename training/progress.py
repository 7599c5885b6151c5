"""What a person sees of a run while it goes: the bar, the table of epochs, the curves."""

import csv
import io
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar

from model.durable import replace_synced
from model.manifest import Cost
from training.environment import Environment
from training.plots import draw_curves
from training.recipes import Recipe

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


class ProgressBar(RichProgressBar):
    """Lightning's bar without the logger's version, which is not a figure."""

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Losses and accuracies of the epoch so far."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class EpochTable(Callback):
    """Add a row to `metrics.csv` after each epoch, and draw the curves anew.

    Lightning's own CSV logger empties the file when a run is resumed; this one goes on. Each
    time the whole table takes the old one's place: wherever a run is killed, no row is cut.
    Seconds count from the start of training, CPU seconds from the start of the process; a
    resumed run goes on from its last row, so that the last one tells what the run cost in all,
    without what a killed process had spent on the epoch that it did not end.

    Args:
        metrics: The CSV file.
        curves: The figure.
        title: Over the figure.
    """

    def __init__(self, metrics: Path, curves: Path, title: str) -> None:
        """Remember where to write."""
        self.metrics = metrics
        self.curves = curves
        self.title = title
        self._rows: list[dict[str, Any]] = []
        self._started = 0.0
        self._before = {"seconds": 0.0, "cpu_seconds": 0.0}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock; keep the rows of the epochs that a resumed run does not repeat."""
        self._started = time.perf_counter()
        if not trainer.is_global_zero:
            return
        known = read_rows(self.metrics)
        self._rows = [row for row in known if int(row["epoch"]) < trainer.current_epoch]
        if self._rows:
            self._before = {clock: float(self._rows[-1][clock]) for clock in self._before}
        write_rows(self.metrics, self._rows)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write the epoch's row."""
        if not trainer.is_global_zero:
            return
        figures: dict[str, Any] = {
            name: f"{float(value):.6g}" for name, value in trainer.callback_metrics.items()
        }
        rate = trainer.optimizers[0].param_groups[-1]["lr"]  # the head's, which comes last
        spent = {
            "seconds": time.perf_counter() - self._started,
            "cpu_seconds": time.process_time(),
        }
        row = {
            **{name: figures.get(name, "") for name in COLUMNS},
            "epoch": trainer.current_epoch,
            "learning_rate": f"{rate:.4g}",
            **{clock: f"{self._before[clock] + spent[clock]:.1f}" for clock in spent},
        }
        self._rows.append(row)
        write_rows(self.metrics, self._rows)
        draw_curves(self.metrics, self.curves, self.title)


def cost_of(metrics: Path, environment: Environment | None) -> Cost | None:
    """Sum up what a run cost; None where its table or its record does not tell.

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


def monitored(rows: Sequence[Mapping[str, str]], recipe: Recipe) -> list[float]:
    """Give the figure that a recipe goes by, of each epoch that has it."""
    return [float(row[recipe.monitor]) for row in rows if row[recipe.monitor]]


def state(rows: Sequence[Mapping[str, str]], recipe: Recipe) -> str:
    """Tell from a run's table of epochs whether it came to its end.

    Returns:
        "finished", "stopped early", or "not finished": stopped, killed or under way.
    """
    values, patience = monitored(rows, recipe), recipe.early_stopping
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


def quiet_lightning() -> None:
    """Silence Lightning's remarks about hardware and its vendor's services."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
