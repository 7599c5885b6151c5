"""What the experiments report: rows, a figure, verdicts, a page and its command."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

pytest.importorskip("torch")

from experiments import d2l, transfer
from experiments.cli import EXPERIMENTS, main
from experiments.report import write_page
from experiments.run import first, read_rows, run
from experiments.verdicts import judge
from tests.conftest import Command
from training.data.dataset import Dataset


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_an_experiment_writes_its_rows_a_figure_and_its_section(
    name: str, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = EXPERIMENTS[name]
    monkeypatch.setattr(d2l, "IMAGE_SIZE", 32)
    monkeypatch.setattr(transfer, "FEW_SHOT_EPOCHS", 1)
    out = tmp_path / "experiments"

    run(experiment, few, out, seeds=1, epochs=1, limit=48, tell=lambda _: None)
    write_page(EXPERIMENTS.values(), out, tmp_path / "experiments.md")

    rows = read_rows(out / f"{name}.csv")
    assert {row["arm"] for row in rows} == set(experiment.arms)
    assert tuple(rows[0]) == ("arm", "seed", *experiment.columns)
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "experiments.md").read_text()
    assert page.count("Not run yet") == len(EXPERIMENTS) - 1
    assert f"](experiments/{name}.png)" in page
    assert "48 training images, 1 epoch," in page


def test_a_limit_takes_images_of_all_labels_of_a_folder(small_fashion: Dataset) -> None:
    by_label = small_fashion.train[small_fashion.train.targets.argsort(stable=True)]
    files = {"train": tuple(map(str, range(len(by_label))))}
    folder = replace(small_fashion, train=by_label, files=files)

    assert first(small_fashion, 100).targets.equal(small_fashion.train.targets[:100])
    assert first(folder, 100).targets.bincount(minlength=10).min() > 0


@pytest.mark.parametrize(
    ("ours", "relation", "outcome"),
    [
        ((0.10, 0.11, 0.12), "lower", "confirmed"),
        ((0.30, 0.31, 0.32), "lower", "**contradicted**"),
        ((0.19, 0.20, 0.22), "lower", "inconclusive with these seeds"),
        ((0.30, 0.31, 0.32), "higher", "confirmed"),
        ((0.10, 0.11, 0.12), "higher", "**contradicted**"),
        ((0.19, 0.20, 0.22), "not higher", "confirmed"),
        ((0.30, 0.31, 0.32), "not higher", "**contradicted**"),
        ((0.10,), "lower", "one seed, not judged"),
    ],
)
def test_a_claim_is_judged_by_means_and_their_standard_errors(
    ours: tuple[float, ...], relation: Literal["lower", "not higher", "higher"], outcome: str
) -> None:
    values = {"a": ours, "b": (0.19, 0.20, 0.21)}

    line = judge(values, "Error", [("a", relation, "b"), ("a", relation, "never run")])

    assert line.startswith(f"- Error of a {relation} than of b: ")
    assert line.endswith(f" against 20.00 ± 1.00 %: {outcome}.")


def test_the_page_of_the_docs_is_what_the_measurements_give(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"

    write_page(EXPERIMENTS.values(), docs / "experiments", tmp_path / "experiments.md")

    assert (tmp_path / "experiments.md").read_text() == (docs / "experiments.md").read_text()


def test_the_page_says_what_was_not_run(tmp_path: Path) -> None:
    write_page(EXPERIMENTS.values(), tmp_path / "experiments", tmp_path / "experiments.md")

    page = (tmp_path / "experiments.md").read_text()
    assert page.count("**Result.** Not run yet.") == len(EXPERIMENTS)
    assert all(f"## {experiment.title}" in page for experiment in EXPERIMENTS.values())


def test_the_command_names_what_there_is(command: Command) -> None:
    finished = command(main, "nonsense")

    assert finished.code == 2
    assert "degradation" in finished.err


def test_the_command_writes_the_page_alone(command: Command, tmp_path: Path) -> None:
    finished = command(main, "none", "--out", tmp_path / "results")

    assert finished.code == 0
    assert (tmp_path / "results.md").read_text().count("Not run yet") == len(EXPERIMENTS)
