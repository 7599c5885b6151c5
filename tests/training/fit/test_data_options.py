"""Class weights, normalisation and image size: what a recipe says of the images."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.conftest import Command, MakeImages
from training.cli.main import evaluate_script, train_script
from training.data.dataset import Dataset
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.runs.reading import read_checkpoint
from training.runs.record import balanced_class_weights

QUICK = ("--set", "epochs=1", "--set", "batch_size=16", "--set", "precision=float32")


def test_class_weights_make_each_label_count_alike(small_fashion: Dataset, tmp_path: Path) -> None:
    chosen = (small_fashion.train.targets != 3) & (small_fashion.train.targets != 0)
    chosen[:60] = True
    dataset = replace(small_fashion, train=small_fashion.train[chosen.nonzero().flatten()])
    counts = dataset.train.targets.bincount(minlength=10)

    weights = torch.tensor(balanced_class_weights(dataset))

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
    command: Command, make_images: MakeImages, tmp_path: Path, size: int
) -> None:
    images = make_images(labels={"boot": 6, "coat": 6}, image_size=40)
    run = tmp_path / "run"

    trained = command(
        train_script, "--data", images, "--out", run, *QUICK, "--set", f"image_size={size}"
    )
    evaluated = command(evaluate_script, run)

    assert f"2 labels, {size} x {size} x 1" in trained.out, trained.err
    assert evaluated.code == 0, evaluated.err
