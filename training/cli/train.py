"""The command `train-model`."""

import signal
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from training.cli.data import DataOption, data_to_go_on, read_data, told_in_one_line
from training.fit.reproduce import repeat
from training.fit.train import Outcome, train
from training.recipe.recipe import RECIPES, get_recipe
from training.runs.record import read_record

STOPPED = 128 + signal.SIGINT
"""Exit code of a run that was stopped, as a shell gives it for Ctrl+C."""

RecipeOption = Annotated[
    str | None, typer.Option(help=f"One of {', '.join(RECIPES)}; default if not said.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, max=2**32 - 1, help="Of weights, order, augmentation; 0 if not said."),
]
InitOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Weights to begin with: .pth, .ckpt or .safetensors."),
]
KeepEveryOption = Annotated[
    float,
    typer.Option(
        "--keep-every", min=0, metavar="MINUTES", help="Between checkpoints within an epoch."
    ),
]


OutOption = Annotated[
    Path | None, typer.Option(help="Run folder; runs/<recipe>-<seed> if not said.")
]
ChangesOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change the recipe.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from --out's last checkpoint.")]
RepeatOption = Annotated[
    Path | None,
    typer.Option("--repeat", metavar="RUN", help="Train as that run was, to RUN-again."),
]


def train_model(
    recipe: RecipeOption = None,
    data: DataOption = None,
    out: OutOption = None,
    seed: SeedOption = None,
    changes: ChangesOption = None,
    init: InitOption = None,
    resume: ResumeOption = False,
    again: RepeatOption = None,
    minutes: KeepEveryOption = 5,
) -> None:
    """Train a network of the family and keep its best weights.

    Example: train-model --recipe default --data pictures --out runs/pictures

    Example: train-model --resume --out runs/pictures

    Example: train-model --repeat runs/pictures
    """
    if init is not None and resume:
        raise typer.BadParameter("a run that goes on has weights already", param_hint="--init")
    if again is not None and any((recipe, seed is not None, changes, resume)):
        only = "takes only --data, --init, --keep-every and --out beside it"
        raise typer.BadParameter(only, param_hint="--repeat")
    keep_every = timedelta(minutes=minutes)
    with told_in_one_line():
        if again is not None:
            folder = out or again.with_name(f"{again.name}-again")
            outcome = repeat(
                again, folder, data=data, init=init, keep_every=keep_every, tell=typer.echo
            )
        else:
            folder = out or Path("runs") / f"{recipe or 'default'}-{seed or 0}"
            chosen = get_recipe(recipe or "default", changes or ())
            if resume and folder.is_dir():  # what is not said is as it was
                earlier = read_record(folder)
                dataset = data_to_go_on(earlier, data, folder)
                chosen = chosen if recipe or changes else earlier.recipe
                seed = earlier.seed if seed is None else seed
            else:
                dataset = read_data(data, seed or 0, chosen.size)
            outcome = train(
                dataset,
                chosen,
                folder,
                seed=seed or 0,
                resume=resume,
                init=init,
                keep_every=keep_every,
                look_first=not resume,
                tell=typer.echo,
            )
    _tell(outcome)


def _tell(outcome: Outcome) -> None:
    """Tell what a run came to; one that was stopped ends the command with an exit code."""
    how = "stopped by hand" if outcome.interrupted else "done"
    typer.echo(
        f"{how} after {outcome.epochs} epochs; best {outcome.monitor} {outcome.best:.4f}, "
        f"weights in {outcome.folder.best}",
    )
    if outcome.interrupted:
        typer.echo(f"to go on: train-model --resume --out {outcome.folder.path}")
        raise typer.Exit(STOPPED)  # nothing that needs a whole run should follow
