"""A recipe from a JSON file: one's own, or the `recipe.json` of a run folder."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from model.validation import first_fault
from training.recipe.presets import change_recipe, get_recipe
from training.recipe.recipe import Recipe, RecipeError
from training.runs.schema import recipe_with_present_names


def choose_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Get a preset or read a file, whichever the name is, and change single fields.

    Args:
        name: Of a preset, or the path of a JSON file.
        changes: `field=value` each, as typed after `--set`.

    Raises:
        RecipeError: If there is no such recipe, or a value does not fit its field.
        OSError: If the file cannot be read.
    """
    if Path(name).suffix.lower() != ".json":
        return get_recipe(name, changes)
    return change_recipe(read_recipe(Path(name)), changes)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; its name is the file's, if the file has none.

    Raises:
        RecipeError: If it is no recipe; the message names the first fault.
        OSError: If the file cannot be read.
    """
    try:
        fields = json.loads(path.read_bytes())
    except ValueError as error:
        raise RecipeError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise RecipeError(f"{path} must contain one JSON object, with the fields of a recipe.")
    try:
        return Recipe.model_validate({"name": path.stem} | recipe_with_present_names(fields))
    except ValidationError as error:
        fault = first_fault(error)
        detail = f"`{fault.where}`: {fault.rule}" if fault.where else fault.rule
        raise RecipeError(
            f"{path}: {detail}. `train-model --show default` lists the fields."
        ) from None
