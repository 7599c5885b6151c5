"""The curve of the loss over a rising learning rate."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from model.weights.file import read_weights
from tests.conftest import Command, MakeImages
from training.cli.lr_finder import changes_for, main
from training.data.dataset import Dataset
from training.errors import TrainingError
from training.fit import lr_range_test
from training.fit.lr_range_test import MAX_LR, MIN_LR, Curve, find_learning_rate
from training.fit.module import Classifier
from training.recipe.optim import Muon
from training.recipe.presets import get_recipe


def test_a_tenth_of_the_rate_of_the_lowest_loss_is_suggested() -> None:
    rates = np.logspace(-5, 1, 61)
    losses = (np.log10(rates) + 1) ** 2  # lowest at 0.1

    curve = Curve(rates.tolist(), losses.tolist())

    assert curve.lowest() == pytest.approx(0.1)
    assert curve.suggestion() == pytest.approx(0.01)


def test_a_curve_that_never_falls_suggests_nothing() -> None:
    with pytest.raises(ValueError, match="did not fall within 20 steps"):
        Curve(list(range(1, 21)), list(range(1, 21))).suggestion()


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
def test_the_rate_of_each_group_rises_evenly_on_a_logarithmic_scale_whatever_the_schedule(
    small_fashion: Dataset, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = get_recipe("default", [f"schedule={schedule}", "batch_size=16", "precision=float32"])
    seen: list[set[float]] = []
    step = Muon.step

    def watched(self: Muon, closure: Callable[[], float]) -> float:
        seen.append({float(f"{group['lr']:.6g}") for group in self.param_groups})
        return step(self, closure)

    monkeypatch.setattr(Muon, "step", watched)
    monkeypatch.setattr(lr_range_test, "STEPS", 40)
    curve = find_learning_rate(small_fashion.limited(64), recipe)

    ramp = np.geomspace(MIN_LR, MAX_LR, 40)
    assert curve.rates == pytest.approx(ramp[: len(curve.rates)].tolist())
    assert len(curve.losses) == len(curve.rates) > 30
    assert np.isfinite(curve.losses).all()
    ratio = recipe.muon_lr / recipe.learning_rate
    assert seen[: len(curve.rates)] == [
        {float(f"{rate:.6g}"), float(f"{rate * ratio:.6g}")} for rate in curve.rates
    ]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Classifier]:
    """Take no step; note what would have taken them."""
    modules: list[Classifier] = []
    monkeypatch.setattr(
        lr_range_test, "run_throw_away_steps", lambda _data, module, *_: modules.append(module)
    )
    return modules


def test_the_images_are_normalised_as_the_recipe_says(
    small_fashion: Dataset, tried: list[Classifier]
) -> None:
    find_learning_rate(small_fashion, get_recipe("default", ["normalize=imagenet"]))

    assert tried[0].record.preprocessing.mean == pytest.approx([0.449], abs=1e-4)


def test_images_of_another_size_than_the_recipes_are_refused(
    small_fashion: Dataset, tried: list[Classifier]
) -> None:
    with pytest.raises(TrainingError, match="read at 14 pixels"):
        find_learning_rate(small_fashion, get_recipe("default", ["image_size=28"]))

    assert tried == []


def test_the_steps_begin_with_the_weights_that_are_given(
    fashion: Dataset,
    tried: list[Classifier],
    resnet20: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "training")
    recipe = get_recipe("default", ["architecture=resnet20"])

    find_learning_rate(fashion, recipe, init=resnet20)

    weight = tried[0].network.state_dict()["layer2.1.conv1.weight"]
    assert torch.equal(weight, read_weights(resnet20)["module.layer2.1.conv1.weight"])
    assert "conv1.weight: 3 input channels summed to one" in caplog.text


def test_muons_own_rate_is_suggested_in_step() -> None:
    recipe = get_recipe("default", ["learning_rate=0.4", "muon_lr=0.06"])

    assert changes_for(recipe, 0.2) == (
        "--set learning_rate=0.2 --set muon_lr=0.03 (the recipe has 0.4 and 0.06)"
    )
    sgd = get_recipe("default", ["optimizer=sgd", "learning_rate=0.4"])
    assert changes_for(sgd, 0.2) == "--set learning_rate=0.2 (the recipe has 0.4)"


def test_the_command_draws_the_curve_and_suggests_a_rate(
    command: Command, make_images: MakeImages, tmp_path: Path
) -> None:
    images = make_images(labels={"boot": 50, "coat": 50}, image_size=14)
    out = tmp_path / "not" / "there" / "lr.png"

    finished = command(main, "--data", images, "--out", out, "--set", "batch_size=40")

    assert finished.code == 0, finished.err
    assert "a tenth of it is a good learning rate: --set learning_rate=" in finished.out
    with Image.open(out) as drawing:
        assert drawing.format == "PNG"


@pytest.mark.parametrize(
    ("option", "cause"),
    [
        (("--out", "."), "must name an image file, such as lr.png."),
        (("--out", "lr.table"), "lr.table` must name an image file"),
        (("--out", "file/lr.png"), "/file: File exists."),
        (("--init", "nowhere.pth"), "There are no weights at"),
    ],
)
def test_what_cannot_end_well_is_refused_before_the_first_step(
    command: Command,
    make_images: MakeImages,
    tried: list[Classifier],
    option: tuple[str, str],
    cause: str,
) -> None:
    images = make_images()
    (images.parent / "file").write_text("no folder")
    name, value = option

    finished = command(main, "--data", images, name, images.parent / value)

    assert finished.code == 1
    assert finished.err.startswith("error: ")
    assert cause in finished.err
    assert finished.err.count("\n") == 1
    assert tried == []
