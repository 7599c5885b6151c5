"""The report before the first step, and that making it changes nothing."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image
from torch import Generator, Tensor

from model.network.resnet import build
from tests.conftest import Command, MakeImages
from training.cli.main import evaluate_script, export_script, train_script
from training.data.dataset import Dataset
from training.data.folder import read_image_folder
from training.fit.preflight import Summary, run_preflight
from training.fit.setup import fit_architecture
from training.fit.step_time import measure_step_time
from training.fit.train import train
from training.plots.contact_sheet import LINE_HEIGHT, MIN_TILE_SIZE, TILE_GAP, Tile, draw_sheet
from training.recipe.augment import resize
from training.recipe.recipe import Recipe
from training.runs.folder import RunFolder
from training.runs.record import RunRecord

QUICK = ("--set", "epochs=1", "--set", "batch_size=16", "--set", "precision=float32")


Preflight = Callable[[Dataset, Recipe, RunFolder], tuple[Summary, str]]


@pytest.fixture
def preflight(caplog: pytest.LogCaptureFixture) -> Preflight:
    """Make the report of a run; give the summary and what was logged."""

    def report(dataset: Dataset, recipe: Recipe, folder: RunFolder) -> tuple[Summary, str]:
        folder.path.mkdir()
        record = RunRecord.of(dataset, recipe, fit_architecture(recipe, dataset), seed=0)
        caplog.clear()
        with caplog.at_level(logging.INFO, "training"):
            run_preflight(dataset, record, folder)
        lines = "\n".join(caplog.messages)
        return Summary.model_validate_json(folder.summary.read_text()), lines

    return report


def test_the_preflight_does_not_change_the_run(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1})
    dataset = small_fashion.limited(120)

    train(dataset, recipe, tmp_path / "plain")
    train(dataset, recipe, tmp_path / "looked", preflight=True)

    states = [
        torch.load(RunFolder(tmp_path / name).last, weights_only=True)
        for name in ("plain", "looked")
    ]
    for part in ("state_dict", "current_model_state", "random"):
        plain, looked = (state[part] for state in states)
        assert all(torch.equal(plain[name], looked[name]) for name in plain)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.0}])
def test_a_checkpoint_has_about_the_size_that_was_reported(
    changes: dict[str, float], small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1, **changes})
    folder = RunFolder(tmp_path / "run")

    train(small_fashion.limited(120), recipe, folder.path, preflight=True)

    logged = Summary.model_validate_json(folder.summary.read_text()).checkpoint_bytes
    assert folder.last.stat().st_size == pytest.approx(logged, rel=0.1)


def test_a_run_of_few_steps_is_warned_of_with_a_batch_that_makes_more(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, preflight: Preflight
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 30, "batch_size": 512})

    _, logged = preflight(small_fashion, recipe, RunFolder(tmp_path / "few"))
    _, fine = preflight(
        small_fashion, recipe.model_copy(update={"batch_size": 8}), RunFolder(tmp_path / "many")
    )

    assert "30 epochs are only 30 steps in all; --set batch_size=8 makes them" in logged
    assert "steps in all" not in fine


def test_the_summary_counts_labels_parameters_and_bytes(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, preflight: Preflight
) -> None:
    summary, logged = preflight(small_fashion, small_recipe, RunFolder(tmp_path / "run"))

    for target, label in enumerate(small_fashion.labels):
        counted = [int((split.targets == target).sum()) for split in small_fashion.splits.values()]
        assert list(summary.counts[label].values()) == counted
        assert label in logged
    assert summary.parameters == sum(weight.numel() for weight in build("mini_resnet").parameters())
    assert summary.dataset_bytes == 900 * 14 * 14
    assert summary.steps_per_epoch == 10  # 480 images, 48 a step
    assert summary.seconds_per_epoch is not None
    assert summary.peak_bytes is not None
    assert summary.peak_bytes > summary.dataset_bytes
    assert 0 < summary.seconds_per_epoch < 60
    assert "an epoch takes about" in logged


@pytest.mark.parametrize(("first", "steps"), [(0.7, 2), (1.0, 1)])
def test_slow_steps_are_measured_once_more_at_full_size(
    small_fashion: Dataset,
    small_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    first: float,
    steps: int,
) -> None:
    monkeypatch.setattr("training.fit.step_time.TIME_BUDGET_S", 0.0)
    sides: list[int] = []

    def note(images: Tensor, _recipe: Recipe, _generator: Generator, side: int) -> Tensor:
        sides.append(side)
        return resize(images, side)

    monkeypatch.setattr("training.fit.module.augment", note)
    recipe = small_recipe.model_copy(update={"resolution_start": first, "resolution_ramp": 0.6})
    architecture = fit_architecture(recipe, small_fashion)
    record = RunRecord.of(small_fashion, recipe, architecture, seed=0)

    step_time = measure_step_time(small_fashion, record)

    assert step_time is not None
    assert step_time.steps == steps
    assert sides == ([8, 14] if steps == 2 else [14])


def test_copies_whose_names_are_no_unicode_are_reported(
    make_images: MakeImages, small_recipe: Recipe, tmp_path: Path, preflight: Preflight
) -> None:
    root = make_images(image_size=14)
    original = root / "boot" / "0.png"
    for name in (b"boot/bad\xe9.png", b"coat/bad\xe9.png"):
        Path(os.fsdecode(bytes(root) + b"/" + name)).write_bytes(original.read_bytes())

    summary, logged = preflight(read_image_folder(root), small_recipe, RunFolder(tmp_path / "run"))

    (group,) = summary.two_labels
    assert {"boot/bad\\xe9.png", "coat/bad\\xe9.png"} <= set(group.split())
    assert f"under more than one label: 1, first {group}" in logged


def test_of_an_image_that_is_everywhere_some_places_are_printed(
    make_images: MakeImages, small_recipe: Recipe, tmp_path: Path, preflight: Preflight
) -> None:
    root = make_images(labels={"boot": 30, "coat": 30}, image_size=28)
    original = next(iter(sorted((root / "boot").iterdir())))
    for number in range(40):
        (root / "coat" / f"copy {number}.png").write_bytes(original.read_bytes())

    summary, logged = preflight(read_image_folder(root), small_recipe, RunFolder(tmp_path / "run"))

    (group,) = summary.two_labels
    assert group.count("copy") == 40
    (line,) = (line for line in logged.splitlines() if "more than one label" in line)
    assert line.endswith(" ...")
    assert len(line) < 400


def test_the_sheet_shows_each_image_where_it_belongs(tmp_path: Path) -> None:
    greys = [np.full((28, 28, 1), 40 * number, np.uint8) for number in range(5)]

    draw_sheet(
        [Tile(grey, ("a label that is much too long for it",)) for grey in greys],
        3,
        tmp_path / "s.png",
    )

    with Image.open(tmp_path / "s.png") as sheet:
        side = 112  # 4 x 28: the least whole multiple that is not under 96
        assert MIN_TILE_SIZE <= side < MIN_TILE_SIZE + 28
        assert sheet.size == (
            TILE_GAP + 3 * (side + TILE_GAP),
            TILE_GAP + 2 * (side + LINE_HEIGHT + TILE_GAP),
        )
        for number in range(5):
            x = TILE_GAP + number % 3 * (side + TILE_GAP) + side // 2
            y = TILE_GAP + number // 3 * (side + LINE_HEIGHT + TILE_GAP) + side // 2
            assert sheet.getpixel((x, y)) == (40 * number,) * 3


def test_labels_out_of_balance_or_missing_are_reported_and_nothing_crashes(
    command: Command, make_images: MakeImages, tmp_path: Path
) -> None:
    """A label of two images is only trained on; the way to the artifact stays open."""
    images = make_images(labels={"boot": 40, "coat": 30, "rare": 2}, image_size=14)
    run = tmp_path / "run"

    trained = command(train_script, "--data", images, "--out", run, *QUICK)
    evaluated = command(evaluate_script, run)
    out = tmp_path / "artifacts/shoes/1"
    exported = command(export_script, run, "--out", out, "--precision", "float32")

    assert trained.code == 0, trained.err
    files = json.loads((run / "splits.json").read_text())
    most = sum(name.startswith("boot") for name in files["train"])
    assert (
        f"training images per label: from 2 (rare) to {most} (boot); --set class_weights=true"
        in (trained.out)
    )
    for split in ("validation", "test"):
        lack = f"warning: no image for {split}: not measured: 1 of 3 labels (rare)"
        assert lack in trained.out
    assert (run / "samples.png").exists()
    assert sorted(name for names in files.values() for name in names) == sorted(
        str(path.relative_to(images)) for path in images.rglob("*.png")
    )
    assert evaluated.code == 0, evaluated.err
    assert exported.code == 0, exported.err
