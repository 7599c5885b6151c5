"""The command `python -m experiments`."""

from pathlib import Path
from typing import Annotated

import typer

from experiments import d2l, degradation, gradients, identity, shortcuts, transfer, variants
from experiments.report import write_page
from experiments.run import ExperimentError, run
from model.cli import CommandError, script
from training.data.dataset import DatasetError
from training.data.open import read_dataset
from training.errors import TrainingError

EXPERIMENTS = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (degradation, gradients, shortcuts, identity, variants, d2l, transfer)
}


def _run(
    name: Annotated[
        str, typer.Argument(help=f"{', '.join(EXPERIMENTS)}, all, or none (only write the page).")
    ],
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of training images.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Fashion-MNIST's files, or a folder of images."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For CSV files and figures.")] = Path(
        "docs/experiments"
    ),
) -> None:
    """Run an experiment, or continue it, and write its section of the page.

    Example: python -m experiments degradation
    """
    if name not in (*EXPERIMENTS, "all", "none"):
        raise typer.BadParameter(f"{name!r} is none of {', '.join(EXPERIMENTS)}, all, none")
    chosen = [spec for spec in EXPERIMENTS.values() if name in (spec.name, "all")]
    try:
        dataset = read_dataset(data) if chosen else None
        for experiment in chosen:
            if dataset is None:
                break
            typer.echo(f"{experiment.name}: expected cost is {experiment.cost}")
            run(
                experiment,
                dataset,
                out,
                seeds=seeds or experiment.seeds,
                epochs=epochs or experiment.epochs,
                limit=limit or experiment.limit,
                tell=typer.echo,
            )
    except (DatasetError, ExperimentError, TrainingError) as error:
        raise CommandError(str(error)) from error
    page = out.with_suffix(".md")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_page(EXPERIMENTS.values(), out, page)
    typer.echo(f"written: {page}")


main = script(_run)
