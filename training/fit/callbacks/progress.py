"""What is printed while a run trains: a bar, and a row an epoch."""

import logging
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar

from training.plots.figures import draw_curves
from training.runs.metrics import COLUMNS, read_rows, write_rows


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

    Lightning's own CSV logger empties the file when a run is resumed; this one continues it. Each
    time the whole table replaces the old one: wherever a run is killed, no row is cut. Seconds
    count from the start of training, CPU seconds from the start of the process. A resumed run
    adds to its last row, so that the last row is the cost of the whole run, without what a killed
    process had spent on an unfinished epoch.

    Args:
        metrics: The CSV file.
        curves: The figure.
        title: Over the figure.
    """

    def __init__(self, metrics: Path, curves: Path, title: str) -> None:
        self.metrics = metrics
        self.curves = curves
        self.title = title
        self._rows: list[dict[str, Any]] = []
        self._started = 0.0
        self._before = {"seconds": 0.0, "cpu_seconds": 0.0}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock; keep the rows of epochs that are done."""
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


def quiet_lightning() -> None:
    """Silence Lightning's messages about hardware and its vendor's services."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
