"""What is told before the first step, and that telling it changes nothing."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image
from torch import Generator, Tensor

from model.network.resnet import build
from tests.conftest import Command, MakePictures
from training.cli.main import evaluate_script, export_script, train_script
from training.data.dataset import Dataset, Split
from training.data.duplicates import across_splits, find_duplicates, name_places, with_two_labels
from training.data.folder import read_image_folder
from training.fit.preflight import Summary, look
from training.fit.setup import fit_architecture
from training.fit.step_time import measure_pace
from training.fit.train import train
from training.plots.contact_sheet import LINE_HEIGHT, MIN_TILE_SIZE, TILE_GAP, Tile, draw_sheet
from training.recipe.augment import resize
from training.recipe.recipe import Recipe, get_recipe
from training.runs.record import RunFolder, RunRecord, balance, read_checkpoint

QUICK = ("--set", "epochs=1", "--set", "batch_size=16", "--set", "precision=float32")


def _look(dataset: Dataset, recipe: Recipe, folder: RunFolder) -> tuple[Summary, str]:
    folder.path.mkdir()
    record = RunRecord.of(dataset, recipe, fit_architecture(recipe, dataset), seed=0)
    told = "\n".join(look(dataset, record, folder))
    return Summary.model_validate_json(folder.summary.read_text()), told


def test_a_run_that_was_looked_at_first_is_the_very_run_that_was_not(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1})
    dataset = small_fashion.limited(120)

    train(dataset, recipe, tmp_path / "plain")
    train(dataset, recipe, tmp_path / "looked", look_first=True)

    states = [
        torch.load(RunFolder(tmp_path / name).last, weights_only=True)
        for name in ("plain", "looked")
    ]
    for part in ("state_dict", "current_model_state", "random"):
        plain, looked = (state[part] for state in states)
        assert all(torch.equal(plain[name], looked[name]) for name in plain)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.0}])
def test_a_checkpoint_takes_about_what_was_told(
    changes: dict[str, float], small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1, **changes})
    folder = RunFolder(tmp_path / "run")

    train(small_fashion.limited(120), recipe, folder.path, look_first=True)

    told = Summary.model_validate_json(folder.summary.read_text()).checkpoint_bytes
    assert folder.last.stat().st_size == pytest.approx(told, rel=0.1)


def test_a_run_of_few_steps_is_warned_of_with_a_batch_that_makes_more(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 30, "batch_size": 512})

    _, told = _look(small_fashion, recipe, RunFolder(tmp_path / "few"))
    _, fine = _look(
        small_fashion, recipe.model_copy(update={"batch_size": 8}), RunFolder(tmp_path / "many")
    )

    assert "30 epochs are 30 steps in all, few to learn from; --set batch_size=8 makes them" in told
    assert "few to learn from" not in fine


def test_the_summary_counts_labels_parameters_and_bytes(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    summary, told = _look(small_fashion, small_recipe, RunFolder(tmp_path / "run"))

    for target, label in enumerate(small_fashion.labels):
        counted = [int((split.targets == target).sum()) for split in small_fashion.splits.values()]
        assert list(summary.counts[label].values()) == counted
        assert label in told
    assert summary.parameters == sum(weight.numel() for weight in build("mini_resnet").parameters())
    assert summary.dataset_bytes == 900 * 14 * 14
    assert summary.steps_per_epoch == 10  # 480 pictures, 48 a step
    assert summary.seconds_per_epoch is not None
    assert summary.peak_bytes is not None
    assert summary.peak_bytes > summary.dataset_bytes
    assert 0 < summary.seconds_per_epoch < 60
    assert "an epoch takes about" in told


@pytest.mark.parametrize(("first", "steps"), [(0.7, 2), (1.0, 1)])
def test_slow_steps_are_measured_once_more_at_full_size(
    small_fashion: Dataset,
    small_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    first: float,
    steps: int,
) -> None:
    monkeypatch.setattr("training.fit.step_time.ENOUGH_S", 0.0)
    sides: list[int] = []

    def note(images: Tensor, _recipe: Recipe, _dice: Generator, side: int) -> Tensor:
        sides.append(side)
        return resize(images, side)

    monkeypatch.setattr("training.fit.module.augment", note)
    recipe = small_recipe.model_copy(update={"first_scale": first, "grown_at": 0.6})
    architecture = fit_architecture(recipe, small_fashion)
    record = RunRecord.of(small_fashion, recipe, architecture, seed=0)

    pace = measure_pace(small_fashion, record)

    assert pace is not None
    assert pace.steps == steps
    assert sides == ([8, 14] if steps == 2 else [14])


def test_the_same_picture_in_two_splits_is_found_whatever_its_files_format(
    make_pictures: MakePictures,
) -> None:
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        root = make_pictures(f"pictures/{split}", {"boot": count, "coat": count}).parent
        random = np.random.default_rng(count)
        for path in sorted((root / split).rglob("*.png")):
            Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)).save(path)
    with Image.open(root / "train/boot/1.png") as image:
        image.save(root / "test/boot/copy.bmp")
        image.save(root / "train/coat/other.gif")

    dataset = read_image_folder(root)
    groups = find_duplicates(dataset)

    (group,) = across_splits(groups)
    assert name_places(group, dataset) == (
        "train train/boot/1.png = train train/coat/other.gif = test test/boot/copy.bmp"
    )
    assert with_two_labels(groups, dataset) == [group]


def test_copies_whose_names_are_no_unicode_are_told_in_it(
    make_pictures: MakePictures, small_recipe: Recipe, tmp_path: Path
) -> None:
    root = make_pictures(side=14)
    original = root / "boot" / "0.png"
    for name in (b"boot/bad\xe9.png", b"coat/bad\xe9.png"):
        Path(os.fsdecode(bytes(root) + b"/" + name)).write_bytes(original.read_bytes())

    summary, told = _look(read_image_folder(root), small_recipe, RunFolder(tmp_path / "run"))

    (group,) = summary.two_labels
    assert {"boot/bad\\xe9.png", "coat/bad\\xe9.png"} <= set(group.split())
    assert f"under more than one label: 1, first {group}" in told


def test_of_a_picture_that_lies_everywhere_some_places_are_printed(
    make_pictures: MakePictures, small_recipe: Recipe, tmp_path: Path
) -> None:
    root = make_pictures(labels={"boot": 30, "coat": 30}, side=28)
    original = next(iter(sorted((root / "boot").iterdir())))
    for number in range(40):
        (root / "coat" / f"copy {number}.png").write_bytes(original.read_bytes())

    summary, told = _look(read_image_folder(root), small_recipe, RunFolder(tmp_path / "run"))

    (group,) = summary.two_labels
    assert group.count("copy") == 40
    (line,) = (line for line in told.splitlines() if "more than one label" in line)
    assert line.endswith(" ...")
    assert len(line) < 400


def test_pictures_without_files_are_named_by_their_position(small_fashion: Dataset) -> None:
    images = small_fashion.test.images.clone()
    images[7] = small_fashion.train.images[3]
    dataset = replace(small_fashion, test=Split(images, small_fashion.test.targets))

    found = [name_places(group, dataset) for group in across_splits(find_duplicates(dataset))]

    assert found == ["train 3 = test 7"]


def test_the_sheet_shows_each_picture_where_it_belongs(tmp_path: Path) -> None:
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


def test_labels_out_of_balance_or_missing_are_told_and_nothing_crashes(
    command: Command, make_pictures: MakePictures, tmp_path: Path
) -> None:
    """A label of two pictures is only trained on; the way to the artifact stays open."""
    pictures = make_pictures(labels={"boot": 40, "coat": 30, "rare": 2}, side=14)
    run = tmp_path / "run"

    trained = command(train_script, "--data", pictures, "--out", run, *QUICK)
    evaluated = command(evaluate_script, run)
    exported = command(export_script, run, "--out", tmp_path / "artifacts/shoes/1")

    assert trained.code == 0, trained.err
    assert "to train on: from 2 pictures (rare) to 32 (boot); --set class_weights=true" in (
        trained.out
    )
    for split in ("validation", "test"):
        lack = f"warning: no picture for {split}: not measured: 1 of 3 labels (rare)"
        assert lack in trained.out
    assert (run / "samples.png").exists()
    files = json.loads((run / "splits.json").read_text())
    assert sorted(name for names in files.values() for name in names) == sorted(
        str(path.relative_to(pictures)) for path in pictures.rglob("*.png")
    )
    assert evaluated.code == 0, evaluated.err
    assert exported.code == 0, exported.err


def test_class_weights_make_each_label_count_alike(small_fashion: Dataset, tmp_path: Path) -> None:
    chosen = (small_fashion.train.targets != 3) & (small_fashion.train.targets != 0)
    chosen[:60] = True
    dataset = replace(small_fashion, train=small_fashion.train[chosen.nonzero().flatten()])
    counts = dataset.train.targets.bincount(minlength=10)

    weights = torch.tensor(balance(dataset))

    assert torch.allclose(weights * counts, torch.full((10,), len(dataset.train) / 10))
    recipe = get_recipe("default", ["class_weights=true", "epochs=1", "precision=float32"])
    train(dataset, recipe, tmp_path / "run")
    record, _ = read_checkpoint(tmp_path / "run")
    assert record.loss_weights == pytest.approx(weights.tolist())


def test_imagenets_statistics_can_stand_for_the_datas(
    small_fashion: Dataset, tmp_path: Path
) -> None:
    recipe = get_recipe("default", ["normalize=imagenet", "epochs=1", "precision=float32"])

    train(small_fashion.limited(40), recipe, tmp_path / "run")

    record, _ = read_checkpoint(tmp_path / "run")
    assert record.preprocessing.mean == pytest.approx([0.449], abs=1e-4)  # of three colours'
    assert record.preprocessing.std == pytest.approx([0.226], abs=1e-4)


@pytest.mark.parametrize("size", [28, 96])
def test_the_side_of_the_input_can_be_chosen(
    command: Command, make_pictures: MakePictures, tmp_path: Path, size: int
) -> None:
    pictures = make_pictures(labels={"boot": 6, "coat": 6}, side=40)
    run = tmp_path / "run"

    trained = command(
        train_script, "--data", pictures, "--out", run, *QUICK, "--set", f"size={size}"
    )
    evaluated = command(evaluate_script, run)

    assert f"2 labels, {size} x {size} x 1" in trained.out, trained.err
    assert evaluated.code == 0, evaluated.err
