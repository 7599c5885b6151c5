"""The pictures of a command: read, with a word on what was found, or refused in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from model.artifact import ArtifactError
from model.cli import CommandError
from model.weights_file import WeightsError
from training.datasets.dataset import Dataset, DatasetError
from training.datasets.source import read_dataset
from training.fitting import TrainingError
from training.graph import ExportError
from training.recipes import RecipeError
from training.run import CheckpointError, RunRecord

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="Pictures as <label>/*.jpg or {train,val,test}/<label>/*.jpg, or Fashion-MNIST's "
        "four files. Fashion-MNIST where it is installed, or the run's own data, if not said.",
    ),
]


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Make what a person can mend a failure of the command, without a traceback."""
    try:
        yield
    except (
        ArtifactError,
        CheckpointError,
        DatasetError,
        ExportError,
        RecipeError,
        TrainingError,
        WeightsError,
    ) as error:
        raise CommandError(str(error)) from error


def own_data(record: RunRecord, data: Path | None) -> Dataset:
    """Read the data that a run was trained on, from where it lay unless told otherwise."""
    spec = record.preprocessing
    dataset = read_data(data or Path(record.dataset_source), record.seed, spec.crop)
    if dataset.labels != record.labels:
        raise DatasetError(
            f"{dataset.source} has the labels {', '.join(dataset.labels[:5])}...; the run was "
            f"trained on {', '.join(record.labels[:5])}.... Name the run's own data with --data."
        )
    found = dataset.preprocessing
    if (found.crop, found.channels) != (spec.crop, spec.channels):
        raise DatasetError(
            f"{dataset.source} gives pictures of {found.crop} pixels, {found.channels} channels; "
            f"the run was trained on {spec.crop} and {spec.channels}."
        )
    if dataset.sha256 != record.dataset_sha256:
        typer.echo("note: these are not the very pictures that the run was trained on")
    return dataset


def read_data(source: Path | None, seed: int, size: int | None = None) -> Dataset:
    """Read the data and say what was found, and what was left out."""
    dataset = read_dataset(source, seed, size)
    shape = tuple(dataset.train.images.shape[1:])
    typer.echo(
        f"{dataset.name}: {len(dataset.train):,} + {len(dataset.validation):,} + "
        f"{len(dataset.test):,} pictures to train, validate and test, {len(dataset.labels)} "
        f"labels, {shape[0]} x {shape[1]} x {shape[2]}",
    )
    if dataset.unreadable:
        typer.echo(f"{len(dataset.unreadable)} unreadable files left out:")
        for reason in dataset.unreadable[:10]:
            typer.echo(f"  {reason}")
        if len(dataset.unreadable) > 10:
            typer.echo(f"  and {len(dataset.unreadable) - 10} more")
    return dataset
