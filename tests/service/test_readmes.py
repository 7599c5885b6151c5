"""README.md and README.zh-CN.md say the same, and what they show is measured or answered."""

import json
import re
import shlex
from typing import Any

import pytest

from tests.service.conftest import Service
from tests.service.process import ROOT

ENGLISH, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")
COST = re.compile(r"^## What it costs\n(.*?)^## ", re.M | re.S)


def commands(page: str) -> list[str]:
    """All commands in the page's console blocks, without their comments."""
    lines = "\n".join(CONSOLE.findall(page)).splitlines()
    return [line.removeprefix("$ ").split("  #")[0].strip() for line in lines if line[:2] == "$ "]


def answers(page: str) -> list[str]:
    """What the blocks show below the commands."""
    lines = "\n".join(CONSOLE.findall(page)).splitlines()
    return [line for line in lines if line and not line.startswith("$ ")]


def test_both_readmes_have_the_same_commands_and_answers() -> None:
    assert len(commands(ENGLISH)) == 8
    assert commands(CHINESE) == commands(ENGLISH)
    assert answers(CHINESE) == answers(ENGLISH)


def test_each_readme_leads_to_the_other_and_both_to_the_same_pages() -> None:
    english, chinese = (re.findall(r"\]\(([^)]*)\)", page) for page in (ENGLISH, CHINESE))

    assert english[0] == "README.zh-CN.md"
    assert chinese[0] == "README.md"
    assert english[1:] == chinese[1:]


def test_both_readmes_name_the_same_files_and_options() -> None:
    english, chinese = (
        sorted(set(re.findall(r"`([^`\n]+)`", page))) for page in (ENGLISH, CHINESE)
    )

    assert english == chinese


def test_both_readmes_have_the_same_figures() -> None:
    assert sorted(NUMBER.findall(CHINESE)) == sorted(NUMBER.findall(ENGLISH))


def test_every_figure_of_what_it_costs_is_in_the_page_of_measurements() -> None:
    section = COST.search(ENGLISH)
    measured = set(NUMBER.findall((ROOT / "docs/performance.md").read_text()))

    assert section is not None
    shown = NUMBER.findall(section[1])
    assert len(shown) > 16
    assert not set(shown) - measured


def test_a_new_user_gets_an_environment_before_the_first_command_that_needs_it() -> None:
    own = commands(ENGLISH)

    activated = own.index("make install && source .venv-dev/bin/activate")
    first = next(at for at, each in enumerate(own) if each.startswith("train-model"))
    assert activated < first


@pytest.mark.anyio
@pytest.mark.parametrize("page", ["README.md", "docs/how-to/unknown-images.md"])
async def test_an_answer_that_a_page_shows_is_that_of_the_included_model(
    page: str, shipped: Service
) -> None:
    """Numbers differ in their last digits from one processor and precision to another."""
    asked = re.compile(r"^\$ (curl .*@docs/images/boot\.png.*)\n(\{.*)$", re.M)
    [(command, answer)] = asked.findall((ROOT / page).read_text())
    url = shlex.split(command)[-1].removeprefix("localhost:8000")

    given = await shipped.client.post(url, content=(ROOT / "docs/images/boot.png").read_bytes())

    body, shown = given.json(), json.loads(answer)
    del shown["model"]["precision"], body["model"]["precision"]
    assert body["model"] == shown["model"]
    (result,), (seen,) = body["results"], shown["results"]
    assert result.pop("score") == pytest.approx(seen.pop("score"), abs=0.05)
    assert rounded(result) == rounded(seen)


def rounded(result: dict[str, Any]) -> dict[str, Any]:
    """The result with probabilities of two decimals."""

    def entries(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{**entry, "probability": round(entry["probability"], 2)} for entry in value]

    return {name: entries(value) for name, value in result.items()}
