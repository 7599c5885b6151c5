"""Look for a learning rate: `python -m training.cli.lr_finder --data FOLDER`.

A short run whose learning rate rises from almost nothing until the loss breaks loose. A
tenth of the rate where the loss was lowest is a safe one. The run is thrown away.

Source:
    Smith, "Cyclical Learning Rates for Training Neural Networks", 2015 (arXiv 1506.01186).
"""

from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from model.cli import CommandError, script
from training.cli.data import DataOption, read_data, told_in_one_line
from training.fit.callbacks.progress import quiet_lightning
from training.fit.lr_range_test import draw_curve, find_learning_rate
from training.recipe.recipe import RECIPES, Recipe, get_recipe


def changes_for(recipe: Recipe, rate: float) -> str:
    """Write the options for a rate; Muon's turn was raised in step with it."""
    options = f"--set learning_rate={rate:g}"
    was = f"{recipe.learning_rate:g}"
    if recipe.optimizer == "muon":
        options += f" --set turn={recipe.turn * rate / recipe.learning_rate:.2g}"
        was += f" and {recipe.turn:g}"
    return f"{options} (the recipe has {was})"


def _prepare(out: Path) -> None:
    """Make the curve's folder; refuse before the steps what could not be drawn after them.

    Raises:
        CommandError: If it is a folder, or figures cannot be files of that kind.
        OSError: If its folder cannot be made.
    """
    kinds = Figure().canvas.get_supported_filetypes()
    if out.is_dir() or out.suffix[1:].lower() not in kinds:
        raise CommandError(f"`--out {out}` must name a picture's file, such as lr.png.")
    out.parent.mkdir(parents=True, exist_ok=True)


def _find(
    recipe: Annotated[str, typer.Option(help=f"One of {', '.join(RECIPES)}.")] = "default",
    data: DataOption = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to begin with: .pth, .ckpt or .safetensors."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The curve.")] = Path("lr.png"),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of weights and order.")] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change the recipe.")
    ] = None,
) -> None:
    """Suggest a learning rate for a recipe and pictures, and draw the curve it is read from.

    Example: python -m training.cli.lr_finder --data pictures --recipe default
    """
    with told_in_one_line():
        _prepare(out)
        chosen = get_recipe(recipe, changes or ())
        quiet_lightning()
        dataset = read_data(data, seed, chosen.size)
        curve = find_learning_rate(dataset, chosen, seed, init=init, tell=typer.echo)
        try:
            suggestion = curve.suggestion()
        except ValueError as error:
            raise CommandError(str(error)) from error
        draw_curve(curve, suggestion, out)
    typer.echo(
        f"the loss was lowest at {curve.lowest():.2g}; a tenth is safe: "
        f"{changes_for(chosen, suggestion)}"
    )
    typer.echo(f"written: {out}")


main = script(_find)

if __name__ == "__main__":
    main()
