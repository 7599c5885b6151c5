"""Print a recipe: each field with its value and its meaning."""

from rich.console import Console
from rich.table import Table

from training.recipe.recipe import Recipe


def print_recipe(recipe: Recipe) -> None:
    """Print every field; the descriptions in the schema are the only source of the meanings."""
    table = Table(title=recipe.name, title_justify="left", box=None)
    table.add_column("field", no_wrap=True)
    table.add_column("value", no_wrap=True)
    table.add_column("meaning")
    for name, field in Recipe.model_fields.items():
        if name != "name":
            table.add_row(name, show_value(getattr(recipe, name)), field.description)
    console = Console()
    console.width = max(console.width, 120)  # a narrow pipe would cut the values
    console.print(table, markup=False, highlight=False)


def show_value(value: object) -> str:
    """Write a value as `--set` takes it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            return str(value)
