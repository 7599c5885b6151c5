"""The command `train-model`."""

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from training.cli.errors import user_errors
from training.cli.options import (
    ChangesOption,
    DataOption,
    InitOption,
    LabelsCsvOption,
    RecipeOption,
    first_weights,
)
from training.cli.recipes import recipe_for, recipe_to_resume, usual_recipe
from training.cli.show import print_recipe
from training.data.dataset import Dataset
from training.fit.loggers import LoggerName
from training.fit.loop import Outcome
from training.fit.process_group import from_rank_0, process_group, together
from training.fit.reproduce import reproduce
from training.fit.resume import resume
from training.fit.seeds import spread_line, train_seeds
from training.fit.train import train
from training.recipe.recipe import Recipe
from training.runs.dataset import open_dataset
from training.runs.folder import RunFolder

log = logging.getLogger(__name__)

SIGNALLED = 128
"""Exit code of a run that was stopped, less the signal's number, as a shell has it."""

ShowOption = Annotated[
    str | None,
    typer.Option(
        "--show", metavar="RECIPE", help="Print the fields of a recipe, without training."
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, max=2**32 - 1, help="Seed of weights, order and augmentation. Default: 0."),
]
MinutesOption = Annotated[
    float,
    typer.Option(
        "--checkpoint-minutes",
        min=0,
        metavar="MINUTES",
        help="Time between checkpoints within an epoch.",
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="Run folder. Default: runs/<recipe>-<seed>.")]
GroupOption = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Keep images in one split if the first group of this regular expression "
        "matches the same in their paths, as in '([^/]+)_[0-9]+'.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")
]
ReproduceOption = Annotated[
    Path | None,
    typer.Option(
        "--reproduce", metavar="RUN", help="Repeat that run exactly, in the folder RUN-again."
    ),
]


LoggerOption = Annotated[
    LoggerName, typer.Option(help="Tracker for the figures; the run folder always has them.")
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        min=1,
        help="Train with this number of seeds, in OUT/seed-N, and print mean and spread.",
    ),
]


def train_model(
    recipe: RecipeOption = None,
    data: DataOption = None,
    labels_csv: LabelsCsvOption = None,
    out: OutOption = None,
    seed: SeedOption = None,
    changes: ChangesOption = None,
    init: InitOption = None,
    resumes: ResumeOption = False,
    reproduces: ReproduceOption = None,
    group_by: GroupOption = None,
    minutes: MinutesOption = 5,
    show: ShowOption = None,
    logger: LoggerOption = "tensorboard",
    seeds: SeedsOption = None,
) -> None:
    """Train a network of the family and keep its best weights.

    Example: train-model --data images --out runs/images

    Example: train-model --recipe default --set epochs=10

    Example: train-model --resume --out runs/images

    Example: train-model --reproduce runs/images

    Example: train-model --show auto --data images
    """
    if show is not None:
        with user_errors():
            print_recipe(recipe_for(show, changes or (), data, first_weights(init), labels_csv))
        return
    if init is not None and resumes:
        raise typer.BadParameter(
            "cannot be combined with --resume: a resumed run has its weights already",
            param_hint="--init",
        )
    if seeds is not None and (resumes or reproduces is not None):
        only = "goes with a new run only; name one of its folders with --out"
        raise typer.BadParameter(only, param_hint="--seeds")
    if reproduces is not None and any((recipe, seed is not None, changes, resumes)):
        only = "may be given with --data, --labels-csv, --init, --checkpoint-minutes and --out only"
        raise typer.BadParameter(only, param_hint="--reproduce")
    if group_by is not None and (resumes or reproduces is not None):
        raise typer.BadParameter("the run has its splits already", param_hint="--group-by")
    every = timedelta(minutes=minutes)
    with user_errors(), process_group():
        start = first_weights(init)
        name = Path(recipe or usual_recipe(data, labels_csv)).stem
        folder = out or Path("runs") / f"{name}-{seed or 0}"
        if reproduces is not None:
            again = out or reproduces.with_name(f"{reproduces.name}-again")
            outcome = reproduce(
                reproduces,
                again,
                data=data,
                labels_csv=labels_csv,
                init=start,
                checkpoint_every=every,
            )
        elif resumes or _was_restarted(folder):
            chosen = recipe_to_resume(folder, recipe, changes or ())
            outcome = resume(
                folder,
                data,
                labels_csv=labels_csv,
                recipe=chosen,
                seed=seed,
                checkpoint_every=every,
                logger=logger,
            )
        elif seeds is not None:
            chosen, dataset = _open(recipe, changes, data, start, labels_csv, group_by)
            many = range(seed or 0, (seed or 0) + seeds)
            outcomes = []
            for outcome in train_seeds(
                dataset, chosen, folder, many, init=start, checkpoint_every=every, logger=logger
            ):
                _report(outcome)
                outcomes.append(outcome)
            log.info(spread_line(outcomes))
            return
        else:
            chosen, dataset = _open(recipe, changes, data, start, labels_csv, group_by)
            outcome = train(
                dataset,
                chosen,
                folder,
                seed=seed or 0,
                init=start,
                checkpoint_every=every,
                preflight=True,
                logger=logger,
            )
    _report(outcome)


def _open(  # what the command was given
    recipe: str | None,
    changes: list[str] | None,
    data: Path | None,
    start: Path | None,
    labels_csv: Path | None,
    group_by: str | None,
) -> tuple[Recipe, Dataset]:
    """Choose the recipe of a new run, and read its images."""
    with together():
        chosen = recipe_for(recipe, changes or (), data, start, labels_csv)
    chosen = from_rank_0(chosen)  # `auto` looks at the machine, too
    with together():
        dataset = open_dataset(data, chosen.image_size, group_by=group_by, labels_csv=labels_csv)
    return chosen, dataset


def _was_restarted(folder: Path) -> bool:
    """Whether torchrun has started the processes again, after one was lost (`--max-restarts`)."""
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return restarts > 0 and RunFolder(folder).last.exists()


def _report(outcome: Outcome) -> None:
    """Print how a run ended; one that was stopped ends the command with an exit code."""
    how = "interrupted" if outcome.interrupted else "done"
    epochs = "1 epoch" if outcome.epochs == 1 else f"{outcome.epochs} epochs"
    log.info(
        f"{how} after {epochs}; best {outcome.monitor} {outcome.best:.4f}, "
        f"weights in {outcome.folder.best}",
    )
    if outcome.interrupted:
        log.info(f"to continue: train-model --resume --out {outcome.folder.path}")
        # Nothing that needs a whole run should follow.
        raise typer.Exit(SIGNALLED + outcome.stopped_by)
