"""Suggest a learning rate: `python -m training.cli.lr_finder --data FOLDER`.

A short run whose learning rate rises from almost nothing until the loss diverges. A tenth of
the rate where the loss was lowest is a safe one. The run is thrown away.

Source:
    Smith, "Cyclical Learning Rates for Training Neural Networks", 2015 (arXiv 1506.01186).
"""

from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from model.cli import CommandError
from training.cli.console import console_script
from training.cli.errors import user_errors
from training.cli.options import (
    ChangesOption,
    DataOption,
    InitOption,
    LabelsCsvOption,
    RecipeOption,
    first_weights,
)
from training.cli.recipes import recipe_for
from training.fit.lr_range_test import draw_curve, find_learning_rate
from training.recipe.recipe import Recipe
from training.runs.dataset import open_dataset


def changes_for(recipe: Recipe, rate: float) -> str:
    """Write the options for a rate; Muon's own rate was raised in step with it."""
    options = f"--set learning_rate={rate:g}"
    was = f"{recipe.learning_rate:g}"
    if recipe.optimizer == "muon":
        options += f" --set muon_lr={recipe.muon_lr * rate / recipe.learning_rate:.2g}"
        was += f" and {recipe.muon_lr:g}"
    return f"{options} (the recipe has {was})"


def _prepare(out: Path) -> None:
    """Make the curve's folder; check before the steps that it can be drawn after them.

    Raises:
        CommandError: If it is a folder, or figures cannot be files of that kind.
        OSError: If its folder cannot be made.
    """
    kinds = Figure().canvas.get_supported_filetypes()
    if out.is_dir() or out.suffix[1:].lower() not in kinds:
        raise CommandError(f"`--out {out}` must name an image file, such as lr.png.")
    out.parent.mkdir(parents=True, exist_ok=True)


def _find(
    recipe: RecipeOption = None,
    data: DataOption = None,
    labels_csv: LabelsCsvOption = None,
    init: InitOption = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Image file for the curve.")] = Path(
        "lr.png"
    ),
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights and order of images.")
    ] = 0,
    changes: ChangesOption = None,
) -> None:
    """Suggest a learning rate for a recipe and images, and draw the curve it is read from.

    Example: python -m training.cli.lr_finder --data images --recipe default
    """
    with user_errors():
        _prepare(out)
        start = first_weights(init)
        chosen = recipe_for(recipe, changes or (), data, start, labels_csv)
        dataset = open_dataset(data, chosen.image_size, labels_csv=labels_csv)
        curve = find_learning_rate(dataset, chosen, seed, init=start)
        try:
            suggestion = curve.suggestion()
        except ValueError as error:
            raise CommandError(str(error)) from error
        draw_curve(curve, suggestion, out)
    typer.echo(
        f"the loss was lowest at {curve.lowest():.2g}; a tenth of it is a good "
        f"learning rate: {changes_for(chosen, suggestion)}"
    )
    typer.echo(f"written: {out}")


main = console_script(_find)

if __name__ == "__main__":
    main()
