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
def test_the_docs_say_of_each_option_what_help_says(name: str, command: Command) -> None:
    page = (ROOT / "docs/commands.md").read_text()
    _, _, section = page.partition(f"\n## {name}\n")
    rows = re.findall(r"^\| `([\w-]+)`[^|]* \| (.+) \|$", section.partition("\n## ")[0], re.M)
    without_links = ((name, re.sub(r"\[(.+?)\]\(.+?\)", r"\1", text)) for name, text in rows)
    documented = {name: "".join(text.replace("`", "").split()) for name, text in without_links}

    shown = command(COMMANDS[name], "--help").out

    _, listed = re.split(r"^(?:Arguments|Options):", shown, maxsplit=1, flags=re.M)
    entry = r"^  (--[\w-]+|[a-z]+)(?: (?:<[^>]+>|\S+))?((?: *\S.*)?(?:\n {4,}\S.*)*)"
    taken = {name: _meaning(text) for name, text in re.findall(entry, listed, re.M)}
    del taken["--help"]
    assert documented == taken


def _meaning(text: str) -> str:
    """Return the words of `--help` without blanks, its default and `required` as sentences."""
    text = re.sub(r"\[default: ([^];]+)[^]]*\]$", r"Default: \1.", " ".join(text.split()))
    text = re.sub(r"\[([^]]*; )?required\]$", "Required.", text)
    return "".join(re.sub(r"\[[^]]*[<>]=[^]]*\]$", "", text).split())


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
