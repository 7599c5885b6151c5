"""Commands that a page shows have the options, fields and recipes that it names."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.conftest import Command
from training.recipe.presets import RECIPES
from training.recipe.recipe import Recipe

ROOT = Path(__file__).parents[2]
PAST = {"CHANGELOG.md", "training-log.md"}
PAGES = [
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples/README.md")
    if page.name not in PAST and page.parent.name != "decisions"
]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
OPTION = re.compile(r"(?<!\S)--[a-z][\w-]*")


def shown(script: str) -> set[str]:
    """What all pages show behind the name of a script, to the end of the line or code span."""
    pages = [page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES]
    uses = [use for page in pages for use in re.findall(rf"\b{script} ([^`\n]*)", page)]
    return {re.split(r" #| \|\| | && |;", use)[0] for use in uses}


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_option_that_a_page_shows_is_one_of_its_command(script: str, command: Command) -> None:
    module, function = SCRIPTS[script].split(":")

    described = command(getattr(import_module(module), function), "--help").out

    has = set(re.findall(r"--[a-z][\w-]*", described))
    named = {option for use in shown(script) for option in OPTION.findall(use)}
    assert named
    assert not named - has


def test_a_field_or_recipe_that_a_page_sets_is_there() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

    assert not set(re.findall(r"--set ([a-z]\w*)=", text)) - set(Recipe.model_fields)
    assert not set(re.findall(r"--recipe (\w+)\b(?![./])", text)) - {*RECIPES, "auto"}
