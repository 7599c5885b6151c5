"""The accuracies of READMEs and docs are those of one file, and that is what was measured."""

import json
from typing import Any

import pytest

pytest.importorskip("torch")

from benchmarks.published import FIGURES, PAGES, ROOT, collect, recipes, unknown_accuracies, written
from model.artifact.card import card
from model.artifact.folder import read

LOGS = {"training-log.md", "experiments.md"}
"""Of runs that are gone: their figures stand where they were measured, and nowhere else."""


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FIGURES.read_bytes())
    return found


def test_the_file_is_what_the_measurements_left(figures: dict[str, Any]) -> None:
    assert figures == collect(), "run `python -m benchmarks.published`"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_is_written_from_the_file(name: str, figures: dict[str, Any]) -> None:
    page = (ROOT / name).read_text()

    assert "<!-- results: " in page
    assert page == written(page, figures), "run `python -m benchmarks.published`"


def test_every_accuracy_of_readme_docs_and_card_is_in_the_file(figures: dict[str, Any]) -> None:
    paths = [*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")]
    read_pages = [path for path in paths if path.name not in LOGS and "decisions" not in path.parts]
    pages = {str(path.relative_to(ROOT)): path.read_text() for path in read_pages}
    pages["card"] = card(read(ROOT / figures["included"]["artifact"]).manifest)

    unknown = {name: unknown_accuracies(page, figures) for name, page in pages.items()}

    assert not {name: found for name, found in unknown.items() if found}


def test_every_accuracy_has_what_it_takes_to_repeat_it(figures: dict[str, Any]) -> None:
    for row in figures["recipes"]:
        assert row["n"] > 0
        assert row["machine"]
        assert all(row["commits"])
        assert f"accuracy {row['recipe']}" in row["command"]
        assert len(row["top1_of_seeds"]) == len(row["seeds"])


def test_an_accuracy_that_nobody_measured_is_named() -> None:
    known = {"recipes": [{"top1": 0.9269, "spread": 0.0016}]}

    assert unknown_accuracies("92.69 % and 92.7 %, 93.1 %, 99.9% of 1.5 %", known) == [
        "93.1",
        "99.9",
    ]


def test_seeds_are_averaged_and_their_spread_is_shown() -> None:
    row = {
        **{"recipe": "fast", "top1": 0.927, "spread": 0.0016, "seeds": [0, 1, 2], "n": 10_000},
        **{"data": "clothes", "cpu_seconds": 279.2, "machine": "a machine", "commits": ["abc"]},
    }

    line = recipes({"recipes": [row]}).splitlines()[-1]

    assert line == "| `fast` | 92.70 ± 0.16 % | 3 | clothes: 10,000 | 279 | a machine | abc |"
