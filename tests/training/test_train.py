"""A run on real pictures: what it learns, what it leaves, what it refuses."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from model.network import build
from training.datasets.dataset import Dataset, Split
from training.evaluate import evaluate
from training.export import export_checkpoint
from training.fitting import TrainingError, fit_architecture
from training.predict import answer, checkpoint_predict
from training.recipes import Recipe, get_recipe
from training.run import RunFolder, read_checkpoint
from training.train import Outcome, train


def _rows(folder: RunFolder) -> list[dict[str, float]]:
    with folder.metrics.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _measure(checkpoint: Path, split: Split, labels: tuple[str, ...]) -> tuple[float, float]:
    """Loss and accuracy of a checkpoint's weights."""
    _, predict = checkpoint_predict(checkpoint)
    figures = evaluate(answer(predict, split), labels=labels, dataset="", split="")
    return figures.loss, figures.top1


def test_the_loss_falls_and_the_accuracy_rises(trained: Outcome) -> None:
    rows = _rows(trained.folder)

    losses = [row["train_loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert rows[-1]["train_acc"] > 0.4  # one in ten by chance


def test_a_run_leaves_its_files(trained: Outcome, small_recipe: Recipe) -> None:
    folder = trained.folder
    rows = _rows(folder)

    assert {path.name for path in folder.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert Recipe.model_validate_json(folder.recipe.read_text()) == small_recipe
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    (events,) = (folder.path / "tensorboard").glob("events.out.tfevents.*")
    assert events.stat().st_size > 500
    with Image.open(folder.curves) as curves:
        assert curves.format == "PNG"


def test_the_outcome_tells_the_best_epochs_figure(trained: Outcome) -> None:
    assert trained.epochs == 3
    assert not trained.interrupted
    assert trained.monitor == "val_acc"
    best = max(row["val_acc"] for row in _rows(trained.folder))
    assert trained.best == pytest.approx(best, abs=1e-5)


def test_the_record_in_the_checkpoint_reads_back(
    trained: Outcome, small_fashion: Dataset, small_recipe: Recipe
) -> None:
    record, weights = read_checkpoint(trained.folder.path)

    assert record.recipe == small_recipe
    assert record.labels == small_fashion.labels
    assert record.preprocessing == small_fashion.preprocessing
    assert (record.dataset, record.dataset_sha256) == ("fashion-mnist", small_fashion.sha256)
    assert record.seed == 3
    assert record.torch == torch.__version__
    assert set(weights) == set(build("mini_resnet").state_dict())


def test_the_logged_figures_are_those_of_the_weights_that_were_kept(
    trained: Outcome, small_fashion: Dataset
) -> None:
    """The averaged weights are validated, and the same ones are written."""
    row = _rows(trained.folder)[-1]

    loss, accuracy = _measure(trained.folder.last, small_fashion.validation, small_fashion.labels)

    assert loss == pytest.approx(row["val_loss"], rel=1e-4)
    assert accuracy == pytest.approx(row["val_acc"], abs=1e-6)


@pytest.mark.parametrize("monitor", ["val_loss", "val_acc"])
def test_early_stopping_keeps_the_best_weights_of_a_run_that_gets_worse(
    small_fashion: Dataset, tmp_path: Path, monitor: str
) -> None:
    changes = ["epochs=12", "batch_size=32", "learning_rate=0.003", "early_stopping=2"]
    recipe = get_recipe("baseline", [*changes, f"monitor={monitor}"])
    dice = torch.Generator().manual_seed(1)
    shuffled = torch.randperm(120, generator=dice)  # nothing to learn but the training split
    train_split = Split(small_fashion.train.images[:120], small_fashion.train.targets[shuffled])
    dataset = replace(small_fashion, train=train_split)

    outcome = train(dataset, recipe, tmp_path / "run")

    rows = _rows(outcome.folder)
    values = [row[monitor] for row in rows]
    best = min(values) if monitor == "val_loss" else max(values)
    at = values.index(best)
    assert outcome.epochs == len(rows) == at + 3  # two epochs without progress
    assert len(rows) < 12
    loss, accuracy = _measure(outcome.folder.best, dataset.validation, dataset.labels)
    assert loss == pytest.approx(rows[at]["val_loss"], rel=1e-4)
    assert accuracy == pytest.approx(rows[at]["val_acc"], abs=1e-6)
    last_loss, _ = _measure(outcome.folder.last, dataset.validation, dataset.labels)
    assert last_loss == pytest.approx(rows[-1]["val_loss"], rel=1e-4)
    assert last_loss != pytest.approx(loss, rel=1e-3)


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
    nothing = Split(torch.empty(0), torch.empty(0))
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
    rates = [row["learning_rate"] for row in _rows(trained.folder)]

    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.05 / 100


def test_a_folder_that_holds_another_run_is_refused(
    trained: Outcome, small_fashion: Dataset, small_recipe: Recipe
) -> None:
    before = trained.folder.last.read_bytes()

    with pytest.raises(TrainingError, match="holds a run already; add --resume"):
        train(small_fashion, small_recipe, trained.folder.path)

    assert trained.folder.last.read_bytes() == before


def test_a_place_that_is_no_folder_is_refused_and_left_alone(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("mine")

    with pytest.raises(TrainingError, match="notes is no folder; name another with --out"):
        train(small_fashion, small_recipe, tmp_path / "notes")

    assert (tmp_path / "notes").read_text() == "mine"


def test_a_folder_that_kept_only_its_figures_is_refused(
    trained: Outcome, small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "metrics.csv").write_bytes(trained.folder.metrics.read_bytes())

    with pytest.raises(TrainingError, match="holds a run already; delete it, or name another"):
        train(small_fashion, small_recipe, tmp_path)


def test_a_folder_whose_run_died_in_its_first_epoch_can_be_used_again(
    trained: Outcome, small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    header = trained.folder.metrics.read_text().splitlines()[0]
    (tmp_path / "metrics.csv").write_text(header + "\n")
    recipe = small_recipe.model_copy(update={"epochs": 1})

    outcome = train(small_fashion.limited(60), recipe, tmp_path)

    assert len(_rows(outcome.folder)) == 1


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"architecture": "resnet19"}, "Did you mean 'resnet18'"),
        ({"shift": 14}, r"`shift` \(=14\) must be under the picture's side \(=14\)"),
    ],
)
def test_a_recipe_that_does_not_fit_the_pictures_is_refused_before_anything_is_written(
    small_fashion: Dataset,
    small_recipe: Recipe,
    tmp_path: Path,
    changes: dict[str, object],
    cause: str,
) -> None:
    with pytest.raises(TrainingError, match=cause) as refused:
        train(small_fashion, small_recipe.model_copy(update=changes), tmp_path / "run")

    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("crop", "stem", "expected"),
    [(64, None, "small"), (65, None, "standard"), (28, "standard", "standard")],
)
def test_the_stem_follows_the_pictures_size_unless_the_recipe_says(
    fashion: Dataset, crop: int, stem: str | None, expected: str
) -> None:
    spec = fashion.preprocessing.model_copy(update={"crop": crop, "resize": crop})
    dataset = replace(fashion, preprocessing=spec)
    recipe = get_recipe("default", ["architecture=resnet18", f"stem={stem or 'none'}"])

    architecture = fit_architecture(recipe, dataset)

    assert architecture.stem == expected
    assert (architecture.in_channels, architecture.num_classes) == (1, 10)


def test_a_recipe_may_name_another_kind_of_shortcut(fashion: Dataset) -> None:
    recipe = get_recipe("default", ["architecture=resnet20", "shortcuts=concat"])

    assert fit_architecture(recipe, fashion).shortcuts == "concat"


def test_pixels_alone_are_learnt_from_by_the_default_recipe_too(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"architecture": "residual_mlp", "epochs": 4})
    assert recipe.first_scale < 1  # pictures grow, which a layer over all pixels cannot follow

    outcome = train(small_fashion, recipe, tmp_path / "run")
    artifact = export_checkpoint(outcome.folder.path, small_fashion, tmp_path / "mlp" / "1")

    assert outcome.best > 0.4
    assert artifact.manifest.architecture.size == 14
    assert artifact.manifest.metrics is not None


def test_the_recipe_beside_the_weights_is_readable_json(trained: Outcome) -> None:
    assert json.loads(trained.folder.recipe.read_text())["batch_size"] == 48
