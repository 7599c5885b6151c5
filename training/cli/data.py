"""The pictures of a command: read, with a word on what was found, or refused in one line."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from model.artifact.folder import ArtifactError
from model.cli import CommandError
from model.weights.file import WeightsError
from model.weights.normalization import NormalizationError
from training.data.dataset import SPLIT_NAMES, Dataset, DatasetError
from training.data.open import read_dataset
from training.data.splits import as_path, plain
from training.errors import ExportError
from training.fit.setup import TrainingError
from training.recipe.recipe import RecipeError
from training.runs.record import CheckpointError, RunFolder, RunRecord

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
        NormalizationError,
        RecipeError,
        TrainingError,
        WeightsError,
    ) as error:
        raise CommandError(str(error)) from error
    except BrokenPipeError:  # `| head` has read enough; Typer ends quietly then
        raise
    except OSError as error:
        where = f"{plain(error.filename)}: " if error.filename else ""
        cause = " ".join((error.strerror or str(error) or type(error).__name__).split())
        raise CommandError(f"{where}{cause}.") from error


def own_data(
    record: RunRecord,
    data: Path | None,
    checkpoint: Path,
    splits: Collection[str] = SPLIT_NAMES,
) -> Dataset:
    """Read the data that a run was trained on, from where it lay unless told otherwise.

    Args:
        record: Of the run.
        data: Where the pictures are now; None looks where they were.
        checkpoint: Of the run, or its folder, which knows what was held out.
        splits: The splits to decode; all without a list of the run's files, for only decoding
            tells then which of them can be read.

    Raises:
        DatasetError: If the pictures do not fit the network, or it may have learnt from those
            that would measure it.
    """
    for line in record.notes(checkpoint):
        typer.echo(line)
    held = _held(checkpoint)
    dataset = _as_it_was(record, data, held, splits if held else SPLIT_NAMES)
    if dataset.sha256 != record.dataset_sha256:
        if dataset.is_drawn:
            raise DatasetError(
                f"{dataset.source} does not hold the run's pictures under the names that they had. "
                "Which of them it learnt from is not known, so whatever is measured on them may be "
                "too good. Name the run's own data with --data, or put pictures that it never saw "
                "into folders `val` and `test` of another."
            )
        typer.echo("note: these are not the very pictures that the run was trained on")
    return dataset


def data_to_go_on(record: RunRecord, data: Path | None, run: Path) -> Dataset:
    """Read the very files that a run began with, and none that came since.

    Args:
        record: Of the run.
        data: Where the pictures are now; None looks where they were.
        run: Its folder.

    Raises:
        DatasetError: If one of them is gone, or they do not fit the network.
    """
    held = _held(run)
    dataset = _as_it_was(record, data, held)
    found = {name for files in dataset.files.values() for name in files}
    gone = [plain(name) for files in held.values() for name in files if name not in found]
    if gone:
        more = f" and {len(gone) - 5:,} more" if len(gone) > 5 else ""
        raise DatasetError(
            f"{dataset.source} lacks files that {run} began with, or they can no longer be read: "
            f"{', '.join(gone[:5])}{more}. Put them back, or start anew in another folder."
        )
    return dataset


def _as_it_was(
    record: RunRecord,
    data: Path | None,
    held: Mapping[str, Sequence[str]],
    splits: Collection[str] = SPLIT_NAMES,
) -> Dataset:
    """Read a run's data in its splits and at its size.

    Raises:
        DatasetError: If the pictures do not fit the network.
    """
    spec = record.preprocessing
    source = data or as_path(record.dataset_source)
    dataset = read_data(source, record.seed, spec.crop, held, record.labels, splits=splits)
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
    return dataset


def _held(path: Path) -> dict[str, list[str]]:
    """Read which files a run held in each split; none if its data come split, or are unknown.

    Args:
        path: A checkpoint of the run, or its folder.
    """
    folder = RunFolder.of(path)
    try:
        held = json.loads(folder.splits.read_bytes())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def read_data(
    source: Path | None,
    seed: int,
    size: int | None = None,
    held: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
    *,
    splits: Collection[str] = SPLIT_NAMES,
) -> Dataset:
    """Read the data and say how, what was found, and what was left out."""
    dataset = read_dataset(source, seed, size, held, known, splits=splits)
    for note in dataset.notes:
        typer.echo(note)
    typer.echo(dataset.describe())
    if dataset.unreadable:
        typer.echo(f"{len(dataset.unreadable)} left out:")
        for reason in dataset.unreadable[:10]:
            typer.echo(f"  {reason}")
        if len(dataset.unreadable) > 10:
            typer.echo(f"  and {len(dataset.unreadable) - 10} more")
    return dataset
