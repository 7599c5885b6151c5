"""docs/commands.md lists every argument and option, and no page names one that is not there."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from model.cli import describe
from service.capacity.cli import plan_capacity
from service.cli import serve
from service.offline.cli import predict
from tests.conftest import Command
from training.cli.main import evaluate_script, export_script, train_script

ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples/README.md"]
COMMANDS: Mapping[str, Callable[[], None]] = {
    "train-model": train_script,
    "evaluate-model": evaluate_script,
    "export-model": export_script,
    "serve-model": serve,
    "predict-model": predict,
    "plan-capacity": plan_capacity,
    "describe-model": describe,
}
USE = re.compile(rf"({'|'.join(COMMANDS)}) ((?:\\\n|[^`\n|&;#])*)")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_docs_list_exactly_what_a_command_takes(name: str, command: Command) -> None:
    page = (ROOT / "docs/commands.md").read_text()
    _, _, section = page.partition(f"\n## {name}\n")
    rows = re.findall(r"^\| (`.+?) \|", section.partition("\n## ")[0], re.M)
    documented = {each for row in rows for each in re.findall(r"`([\w-]+)`", row)}

    shown = command(COMMANDS[name], "--help").out

    taken = set(re.findall(r"^  (--[\w-]+|[a-z]+(?= <))", shown, re.M))
    assert documented == taken - {"--help"}


def test_no_page_uses_an_option_that_is_not_there(command: Command) -> None:
    taken = {
        name: re.findall(r"^  (--[\w-]+)", command(script, "--help").out, re.M)
        for name, script in COMMANDS.items()
    }

    unknown = {
        (page.name, name, option)
        for page in PAGES
        if "decisions" not in page.parts
        for name, arguments in USE.findall(page.read_text())
        for option in re.findall(r"(?<!\S)(--[a-z][\w-]*)", arguments)
        if option not in taken[name]
    }
    assert not unknown
