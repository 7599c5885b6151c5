"""The accuracies of READMEs and docs are those of one file, and that is what was measured."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from benchmarks.published import FIGURES, PAGES, ROOT, collect, recipes, unknown_accuracies, written
from benchmarks.trust_tables import coverage
from model.artifact.card import card
from model.artifact.folder import read

LOGS = {"training-log.md", "experiments.md"}
"""Of runs that are gone: their figures stand where they were measured, and nowhere else."""
WITHOUT_RESULTS = {"Large files", "Other precisions", "What keys and limits cost"}
"""Sections of docs/performance.md whose figures are in no file, or only in part."""
FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)")


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


def test_a_figure_of_the_page_of_measurements_is_in_a_file_of_results() -> None:
    """Of three digits or more, in tables: shorter ones would be found by chance."""
    files = (ROOT / "benchmarks/results").glob("*.json")
    measured = {number for file in files for number in numbers(json.loads(file.read_bytes()))}
    sections = re.split(r"^## (.+)$", (ROOT / "docs/performance.md").read_text(), flags=re.M)

    shown = {
        figure
        for title, text in zip(sections[1::2], sections[2::2], strict=True)
        if title not in WITHOUT_RESULTS
        for row in re.findall(r"^\|[^|]*\|(.*)$", text, re.M)
        for figure in FIGURE.findall(row)
        if len(re.sub(r"\D", "", figure).lstrip("0")) > 2
    }
    assert len(shown) > 100
    assert not {figure for figure in shown if not is_one_of(figure, measured)}


def numbers(found: Any) -> Iterator[float]:
    """Yield all numbers of a file of results."""
    if isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from numbers(each)
    elif isinstance(found, int | float):
        yield float(found)


def is_one_of(figure: str, measured: set[float]) -> bool:
    """Whether a number is the figure, rounded as the figure is."""
    value, decimals = float(figure.replace(",", "")), len(figure.partition(".")[2])
    return any(abs(value - number) <= 0.5001 * 10**-decimals for number in measured)


def test_a_coverage_outside_what_is_guaranteed_is_marked(tmp_path: Path) -> None:
    sets = {"wanted": 0.9, "expected": [0.887, 0.913], "mean_size": 1.1, "per_label": [0.8, None]}
    run = {
        **{"dataset": "clothes", "architecture": "resnet20", "seed": 3},
        "images": {"calibration": 2_500, "test": 10_000},
        **{
            "top1": {"calibration": 0.93, "test": 0.92},
            "flagged": 0.05,
            "flagged_interval": [0.04, 0.06],
            "flagged_top1": None,
        },
        "sets": [{**sets, "by_threshold": covered} for covered in (0.887, 0.8869)],
        "sets_per_label": [],
    }
    (tmp_path / "coverage.json").write_text(json.dumps({"measured": {"runs": [run]}}))

    inside, outside = coverage(tmp_path).splitlines()[2:4]

    assert "| 88.70 | 88.70 to 91.30 | yes | 1.10 | 80.0 | not offered |" in inside
    assert "| 88.69 | 88.70 to 91.30 | **no** |" in outside
