"""A run on real images: what it leaves in its folder, and which weights it keeps."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from model.network.resnet import build
from tests.training.run_files import ctrl_c_in, figures_of
from training.data.dataset import Dataset, MemorySplit, Split
from training.evaluation.metrics import evaluate
from training.evaluation.predict import load_network, predict_split
from training.fit.loop import Outcome
from training.fit.module import Classifier
from training.fit.resume import resume
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe
from training.runs.reading import read_checkpoint


def _measure(checkpoint: Path, split: Split, labels: tuple[str, ...]) -> tuple[float, float]:
    """Loss and accuracy of a checkpoint's weights."""
    predict = load_network(checkpoint).predict()
    figures = evaluate(predict_split(predict, split), labels=labels, dataset="", split="")
    return figures.loss, figures.top1


def test_a_run_leaves_its_files(trained: Outcome, small_recipe: Recipe) -> None:
    folder = trained.folder
    rows = figures_of(folder)

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
    best = max(row["val_acc"] for row in figures_of(trained.folder))
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
    row = figures_of(trained.folder)[-1]

    loss, accuracy = _measure(trained.folder.last, small_fashion.validation, small_fashion.labels)

    assert loss == pytest.approx(row["val_loss"], rel=1e-4)
    assert accuracy == pytest.approx(row["val_acc"], abs=1e-6)


@pytest.mark.parametrize("monitor", ["val_loss", "val_acc"])
def test_early_stopping_keeps_the_best_weights_of_a_run_that_gets_worse(
    small_fashion: Dataset, tmp_path: Path, monitor: str
) -> None:
    changes = ["epochs=12", "batch_size=32", "learning_rate=0.003", "early_stopping=2"]
    recipe = get_recipe("baseline", [*changes, f"monitor={monitor}"])
    generator = torch.Generator().manual_seed(1)
    shuffled = torch.randperm(120, generator=generator)  # nothing to learn but the training split
    train_split = MemorySplit(
        small_fashion.train.images[:120], small_fashion.train.targets[shuffled]
    )
    dataset = replace(small_fashion, train=train_split)

    outcome = train(dataset, recipe, tmp_path / "run")

    rows = figures_of(outcome.folder)
    values = [row[monitor] for row in rows]
    best = min(values) if monitor == "val_loss" else max(values)
    at = values.index(best)
    assert outcome.epochs == len(rows) == at + 3  # two epochs without progress
    assert len(rows) < 12
    kept = rows[len(values) - 1 - values[::-1].index(best)]  # of equals the latest
    loss, accuracy = _measure(outcome.folder.best, dataset.validation, dataset.labels)
    assert loss == pytest.approx(kept["val_loss"], rel=1e-4)
    assert accuracy == pytest.approx(kept["val_acc"], abs=1e-6)
    last_loss, _ = _measure(outcome.folder.last, dataset.validation, dataset.labels)
    assert last_loss == pytest.approx(rows[-1]["val_loss"], rel=1e-4)
    assert last_loss != pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("monitor", ["val_loss", "val_acc"])
def test_of_epochs_with_the_same_figure_the_latest_is_kept_and_is_no_progress(
    small_fashion: Dataset, tmp_path: Path, monitor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = [0.25, 0.75, 0.75, 0.5, 0.5, 0.5, 0.5]  # by epoch

    def validate(self: Classifier, batch: Any, _: int) -> None:
        accuracy = accuracies[self.current_epoch]
        figures = {"val_loss": 1 - accuracy, "val_acc": accuracy}
        self.log_dict(figures, on_epoch=True, batch_size=len(batch[1]))

    monkeypatch.setattr(Classifier, "validation_step", validate)
    changes = ["epochs=7", "batch_size=16", "early_stopping=3", f"monitor={monitor}"]
    recipe, dataset = get_recipe("baseline", changes), small_fashion.limited(32)
    with ctrl_c_in(step=5):  # within the third epoch
        train(dataset, recipe, tmp_path / "run")

    outcome = resume(tmp_path / "run", dataset, recipe=recipe)

    assert torch.load(outcome.folder.best, weights_only=True)["epoch"] == 2
    assert outcome.best == (0.25 if monitor == "val_loss" else 0.75)
    assert outcome.epochs == 5  # three after the second, which was the last to be better


def test_the_recipe_beside_the_weights_is_readable_json(trained: Outcome) -> None:
    assert json.loads(trained.folder.recipe.read_text())["batch_size"] == 48
