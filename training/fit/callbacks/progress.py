"""What is printed while a run trains: a bar with the time to the run's end, and a line an epoch."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar

from training.fit.words import duration
from training.plots.figures import draw_curves
from training.recipe.recipe import Recipe
from training.runs.metrics import COLUMNS, monitored_values, read_rows, write_rows

log = logging.getLogger(__name__)


class ProgressBar(RichProgressBar):
    """Lightning's bar, which ends with the epoch, and the time to the end of the run."""

    def __init__(self) -> None:
        super().__init__()
        self._began = (0.0, 0)  # when this process began, and with which step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._began = (time.perf_counter(), trainer.global_step)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Losses and accuracies of the last epoch, and the time to the run's end.

        Without the logger's version, which is not a figure.
        """
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        began, first = self._began
        steps = trainer.global_step - first
        if steps > 0:
            left = trainer.estimated_stepping_batches - trainer.global_step
            metrics["run ends in"] = duration((time.perf_counter() - began) / steps * left)
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
        recipe: Of the run.
    """

    def __init__(self, metrics: Path, curves: Path, recipe: Recipe) -> None:
        self.metrics = metrics
        self.curves = curves
        self.recipe = recipe
        self._rows: list[dict[str, Any]] = []
        self._started = 0.0
        self._before = {"seconds": 0.0, "cpu_seconds": 0.0}
        self._first_epoch = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock; keep the rows of epochs that are done."""
        self._started = time.perf_counter()
        self._first_epoch = trainer.current_epoch
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
        draw_curves(self.metrics, self.curves, self.recipe.name)
        epochs = trainer.current_epoch + 1 - self._first_epoch
        line = epoch_line(self._rows, self.recipe, spent["seconds"] / epochs)
        pace = getattr(trainer.train_dataloader, "pace", None)
        log.info(line if pace is None else f"{line}  {pace.describe()}")


def epoch_line(rows: Sequence[Mapping[str, Any]], recipe: Recipe, seconds_per_epoch: float) -> str:
    """Say how the last epoch went, whether it is the best so far, and when the run ends."""
    row, values = rows[-1], monitored_values(rows, recipe)
    figures = "  ".join(
        f"{name} {float(row[name]):.4f}" for name in COLUMNS[1:5] if row[name] != ""
    )
    best = (max if recipe.monitor == "val_acc" else min)(values, default=None)
    mark = " (best)" if values and row[recipe.monitor] and values[-1] == best else ""
    left = recipe.epochs - len(rows)
    ends = f", about {duration(left * seconds_per_epoch)} left" if left else ""
    return (
        f"epoch {len(rows)}/{recipe.epochs}  {figures}{mark}  {duration(seconds_per_epoch)}{ends}"
    )


def quiet_lightning() -> None:
    """Silence Lightning's messages about hardware and its vendor's services."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
