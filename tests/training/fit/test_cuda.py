"""Training on a GPU: everything of a step is there, and a run continues as it would have."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from training.data.dataset import Dataset
from training.evaluation.predict import load_network, predict_split
from training.fit.callbacks.ema import MovingAverage
from training.fit.module import Classifier
from training.fit.resume import resume
from training.fit.train import train
from training.recipe.recipe import Recipe
from training.runs.folder import RunFolder
from training.runs.reading import read_checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_images_augmentation_and_average_are_on_the_gpu(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: set[str] = set()
    update, step = MovingAverage.average, Classifier.training_step

    def average(self: MovingAverage, averaged: Any, current: Any, count: Any) -> None:
        devices.update(each.device.type for each in (*averaged, *current))
        update(self, averaged, current, count)

    def training_step(self: Classifier, batch: Any, number: int) -> Any:
        devices.update((batch[0].device.type, self.on_device.device.type))
        loss = step(self, batch, number)
        devices.add(loss.device.type)
        return loss

    monkeypatch.setattr(MovingAverage, "average", average)
    monkeypatch.setattr(Classifier, "training_step", training_step)

    train(small_fashion.limited(100), small_recipe, tmp_path / "run")

    assert devices == {"cuda"}


def test_a_step_never_waits_for_the_gpu(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Classifier.training_step

    def training_step(self: Classifier, batch: Any, number: int) -> Any:
        torch.cuda.set_sync_debug_mode("error")  # torch raises where it would wait
        try:
            return step(self, batch, number)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Classifier, "training_step", training_step)

    train(small_fashion.limited(100), small_recipe, tmp_path / "run")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_has_the_weights_of_one_that_was_not_stopped(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, precision: str
) -> None:
    dataset = small_fashion.limited(100)
    recipe = small_recipe.model_copy(update={"precision": precision, "epochs": 2})
    whole = train(dataset, recipe, tmp_path / "whole").folder
    halves = RunFolder(tmp_path / "halves")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "on_train_epoch_start", _stop_in_the_second_epoch)
        train(dataset, recipe, halves.path, checkpoint_every=timedelta(0))

    resume(halves.path, dataset)

    for (name, one), other in zip(
        read_checkpoint(whole.last)[1].items(),
        read_checkpoint(halves.last)[1].values(),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4, msg=name)


def _stop_in_the_second_epoch(self: Classifier) -> None:
    self.train_loss.reset()
    self.train_accuracy.reset()
    if self.trainer.current_epoch == 1:
        raise KeyboardInterrupt


def test_a_checkpoint_of_a_gpu_predicts_on_a_processor(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    dataset = small_fashion.limited(100)

    run = train(dataset, small_recipe, tmp_path / "run").folder

    logits = predict_split(load_network(run.last).predict(), dataset.test).logits
    assert logits.device.type == "cpu"
    assert bool(logits.isfinite().all())
