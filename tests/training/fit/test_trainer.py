"""What a recipe and the options have Lightning do: batches in parts, averages, loggers, seeds."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.conftest import Command, MakeImages
from training.cli.main import train_script
from training.data.dataset import Dataset
from training.errors import TrainingError
from training.fit.loggers import build_logger
from training.fit.train import train
from training.fit.trainer import ema_decay, forward_batch_size
from training.recipe.recipe import Recipe
from training.runs.folder import RunFolder


def test_a_batch_is_shared_by_processes_and_parts(
    small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe.model_copy(update={"accumulate_steps": 3})  # 48 images a step
    monkeypatch.setenv("WORLD_SIZE", "4")

    assert forward_batch_size(recipe) == 4
    monkeypatch.setenv("WORLD_SIZE", "17")
    with pytest.raises(TrainingError, match=r"`batch_size` \(=48\) must be at least .*=51"):
        forward_batch_size(recipe)
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(TrainingError, match=r"multiple of 15 .* Start 4, or use .*=45 or 60\."):
        forward_batch_size(recipe)


@pytest.mark.parametrize(("epochs", "expected"), [(0.0, 0.5), (2.0, 0.95), (0.01, 0.0)])
def test_an_average_counts_in_epochs_where_the_recipe_says_so(
    small_recipe: Recipe, epochs: float, expected: float
) -> None:
    """Of twenty batches, which make ten steps."""
    recipe = small_recipe.model_copy(update={"ema_epochs": epochs, "accumulate_steps": 2})

    assert ema_decay(recipe, batches=20) == pytest.approx(expected)


def test_parts_of_a_batch_make_one_step_and_gradients_are_clipped(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    step: Callable[..., object] = torch.optim.Adam.step

    def watched(self: torch.optim.Adam, closure: object = None) -> object:
        done = step(self, closure)  # runs the closure: gradients are there, and clipped
        gradients = [w.grad for group in self.param_groups for w in group["params"]]
        norms.append(float(torch.nn.utils.get_total_norm([g for g in gradients if g is not None])))
        return done

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    changes = {"epochs": 1, "accumulate_steps": 4, "clip_norm": 0.01, "optimizer": "adam"}
    recipe = small_recipe.model_copy(update=changes)

    outcome = train(small_fashion.limited(96), recipe, tmp_path / "run")

    assert torch.load(outcome.folder.last, weights_only=True)["global_step"] == 2
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)
    hyperparameters = (outcome.folder.path / "tensorboard/hparams.yaml").read_text()
    assert "accumulate_steps: 4" in hyperparameters


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_says_what_to_install(name: str, tmp_path: Path) -> None:
    try:
        __import__(name)
    except ModuleNotFoundError:
        with pytest.raises(TrainingError, match=rf"pip install \.\[{name}\]$"):
            build_logger(name, RunFolder(tmp_path))  # type: ignore[arg-type]
    else:
        pytest.skip("it is installed")


def test_seeds_are_runs_of_one_split_with_mean_and_spread(
    command: Command, make_images: MakeImages, tmp_path: Path
) -> None:
    images = make_images(labels={"boot": 20, "coat": 20}, image_size=14)
    settings = ("epochs=1", "batch_size=16", "architecture=resnet20", "precision=float32")
    options = [part for change in settings for part in ("--set", change)]
    out, group = tmp_path / "out", "/([0-9])[0-9]*[.]"
    seeds = ("--seeds", "2", "--logger", "csv", "--group-by", group)

    done = command(train_script, "--data", images, "--out", out, *seeds, *options)

    assert done.code == 0, done.err
    assert re.search(
        r"^val_acc of 2 seeds: 0\.\d{4} ± 0\.\d{4} \(0\.\d+ to [01]\.\d+\)$", done.out, re.M
    )
    splits = [(out / f"seed-{seed}/splits.json").read_text() for seed in (0, 1)]
    assert splits[0] == splits[1]
    held = {
        name: {re.search(group, file)[1] for file in files}  # type: ignore[index]
        for name, files in json.loads(splits[0]).items()
    }
    assert not held["train"] & (held["validation"] | held["test"])
    weights = [
        torch.load(out / f"seed-{seed}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for seed in (0, 1)
    ]
    first = "network.conv1.weight"
    assert not torch.equal(weights[0][first], weights[1][first])
