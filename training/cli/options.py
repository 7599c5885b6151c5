"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from model.weights.published import find_weights
from training.recipe.auto import AUTO
from training.recipe.presets import RECIPES

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="Images as <label>/*.jpg or {train,val,test}/<label>/*.jpg, or the four files "
        "of Fashion-MNIST. Default: the run's own data; for a new run Fashion-MNIST, if installed.",
    ),
]
LabelsCsvOption = Annotated[
    Path | None,
    typer.Option(
        "--labels-csv",
        metavar="FILE",
        help="A table with the columns path, label and optionally split. Paths are "
        "relative to --data, or to the table's folder.",
    ),
]
InitOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="First weights: resnet18, resnet50, ... (trained on ImageNet, downloaded "
        "once), or a .pth, .ckpt or .safetensors file.",
    ),
]


def first_weights(given: str | None) -> Path | None:
    """Find the file that `--init` names, or fetch it.

    Raises:
        WeightsError: If there is none.
    """
    return None if given is None else find_weights(given)


ChangesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Change a field of the recipe; can be repeated."
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        help=f"One of {AUTO}, {', '.join(RECIPES)}, or a JSON file. Default: {AUTO} for a folder "
        "of images, default for Fashion-MNIST."
    ),
]
