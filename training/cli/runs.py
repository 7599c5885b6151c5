"""The command `python -m training.cli.runs [FOLDER]`: a table of runs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model.cli import CommandError, script
from training.runs.table import draw_table, read_runs


def _runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, at any depth.")] = Path("runs"),
) -> None:
    """Print a table of training runs.

    Example: python -m training.cli.runs runs
    """
    rows, notes = read_runs(folder) if folder.is_dir() else ([], [])
    for line in notes:
        typer.echo(line, err=True)
    if not rows:
        which = "run that can be read" if notes else "run"
        raise CommandError(f"There is no {which} in {folder}; `train-model` makes one.")
    console = Console()
    console.width = max(console.width, 140)  # a narrow pipe would cut the figures
    console.print(draw_table(rows))


main = script(_runs)

if __name__ == "__main__":
    main()
