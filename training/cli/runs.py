"""The command `python -m training.cli.runs [FOLDER]`: a table of runs, or what tells two apart."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model.cli import CommandError, script
from training.cli.errors import user_errors
from training.runs.difference import difference
from training.runs.table import SORTS, draw_difference, draw_table, read_runs, sort_runs


def _runs(
    folder: Annotated[Path, typer.Argument(help="Folder to search for runs, at any depth.")] = Path(
        "runs"
    ),
    sort: Annotated[
        str, typer.Option(help=f"Sort by {', '.join(SORTS)}; the best or latest run is last.")
    ] = "date",
    diff: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="RUN RUN", help="Print what differs between two runs."),
    ] = None,
) -> None:
    """Print a table of training runs.

    Example: python -m training.cli.runs runs --sort val_acc

    Example: python -m training.cli.runs --diff runs/default-0 runs/default-1
    """
    if sort not in SORTS:
        raise typer.BadParameter(f"must be one of {', '.join(SORTS)}", param_hint="--sort")
    console = Console()
    console.width = max(console.width, 140)  # a narrow pipe would cut the figures
    if diff is not None:
        first, second = diff
        with user_errors():
            rows = difference(first, second)
        console.print(draw_difference((str(first), str(second)), rows))
        return
    found, notes = read_runs(folder) if folder.is_dir() else ([], [])
    for line in notes:
        typer.echo(line, err=True)
    if not found:
        which = "run that can be read" if notes else "run"
        raise CommandError(f"There is no {which} in {folder}; `train-model` creates one.")
    console.print(draw_table(sort_runs(found, sort)))


main = script(_runs)

if __name__ == "__main__":
    main()
