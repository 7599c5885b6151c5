"""Progress with the time left: a bar on a terminal, else a line every half minute."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

EVERY_S = 30.0


class _Rate(ProgressColumn):
    """Images a second, lately."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "")


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show progress on stderr; yield a function to be called with each number of new images.

    Args:
        total: Number of images to come.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("predicting"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("predicting", total=total)
            yield lambda count: bar.advance(task, count)
    else:
        yield _Lines(total).advance


class _Lines:
    """Prints a line from time to time, for a log."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._began = self._printed = time.monotonic()

    def advance(self, count: int) -> None:
        """Count images; print a line if the last one is old enough."""
        self._done += count
        now = time.monotonic()
        if now - self._printed < EVERY_S:
            return
        self._printed = now
        rate = self._done / (now - self._began)
        minutes = (self._total - self._done) / rate / 60
        sys.stderr.write(
            f"{self._done:,} of {self._total:,} images, {rate:,.0f} a second, "
            f"{minutes:,.0f} min left\n"
        )
