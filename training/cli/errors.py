"""Failures that a user can mend: one line, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from model.artifact.folder import ArtifactError
from model.cli import CommandError
from model.weights.file import WeightsError
from model.weights.normalization import NormalizationError
from training.data.dataset import DatasetError
from training.data.splits import plain
from training.distributed import processes
from training.errors import ExportError, OtherProcessError, TrainingError
from training.recipe.recipe import RecipeError
from training.runs.record import CheckpointError


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn failures that a user can mend into the command's own error.

    Raises:
        CommandError: In place of them.
    """
    try:
        yield
    except OtherProcessError as error:
        raise typer.Exit(1) from error
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
        rank = processes().rank
        raise CommandError(f"rank {rank}: {error}" if rank else str(error)) from error
    except BrokenPipeError:  # `| head` has read enough; Typer then ends quietly
        raise
    except OSError as error:
        where = f"{plain(error.filename)}: " if error.filename else ""
        cause = " ".join((error.strerror or str(error) or type(error).__name__).split())
        raise CommandError(f"{where}{cause}.") from error
