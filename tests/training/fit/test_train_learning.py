"""A run on real images: what it learns, and what its seed, splits and precision do."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.training.run_files import figures_of
from training.data.dataset import Dataset, MemorySplit
from training.evaluation.predict import load_network
from training.export.checkpoint import export_checkpoint
from training.fit.loop import Outcome
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe
from training.runs.reading import read_checkpoint


def test_the_loss_falls_and_the_accuracy_rises(trained: Outcome) -> None:
    rows = figures_of(trained.folder)

    losses = [row["train_loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert rows[-1]["train_acc"] > 0.4  # one in ten by chance


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1})
    weights = []
    for name, seed in (("first", 7), ("again", 7), ("other", 8)):
        train(small_fashion.limited(100), recipe, tmp_path / name, seed=seed)
        weights.append(read_checkpoint(tmp_path / name)[1]["fc.weight"])

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_run_does_not_look_at_the_test_split(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1})
    nothing = MemorySplit(torch.empty(0), torch.empty(0))
    dataset = replace(small_fashion.limited(60), test=nothing)

    assert train(dataset, recipe, tmp_path / "run").epochs == 1


def test_bfloat16_trains_where_the_processor_has_it(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1, "precision": "bfloat16"})

    train(small_fashion.limited(100), recipe, tmp_path / "run")

    _, weights = read_checkpoint(tmp_path / "run")
    assert weights["fc.weight"].dtype == torch.float32
    assert all(bool(weight.isfinite().all()) for weight in weights.values())


def test_the_schedule_falls_to_almost_nothing_at_the_end(trained: Outcome) -> None:
    rates = [row["learning_rate"] for row in figures_of(trained.folder)]

    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.05 / 100


@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adam"])
def test_the_rate_that_is_reported_is_the_one_that_the_recipe_names(
    small_fashion: Dataset, tmp_path: Path, optimizer: str
) -> None:
    slow = ["backbone_lr_scale=0.1", "schedule=plateau", "learning_rate=0.05"]
    slow += ["muon_lr=0.02"] if optimizer == "muon" else []
    quick = ("epochs=1", "batch_size=30", f"optimizer={optimizer}")
    recipe = get_recipe("default", (*slow, *quick))

    outcome = train(small_fashion.limited(60), recipe, tmp_path / "run")

    (row,) = figures_of(outcome.folder)
    assert row["learning_rate"] == 0.05


def test_pixels_alone_are_learnt_from_by_the_default_recipe_too(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"architecture": "residual_mlp", "epochs": 4})
    assert recipe.resolution_start < 1  # images grow, which a layer over all pixels cannot follow

    outcome = train(small_fashion, recipe, tmp_path / "run")
    artifact = export_checkpoint(
        load_network(outcome.folder.path), small_fashion, tmp_path / "mlp" / "1"
    )

    assert outcome.best > 0.4
    assert artifact.manifest.architecture.size == 14
    assert artifact.manifest.metrics is not None
