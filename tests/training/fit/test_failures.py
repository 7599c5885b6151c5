"""What ends a run before its time: figures that are no numbers, a disk that is full."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from tests.conftest import Command, MakeImages
from tests.training.conftest import limited_files
from training.cli.main import train_script
from training.data.dataset import Dataset
from training.errors import TrainingError
from training.fit.callbacks.checkpointing import DurableCheckpoints
from training.fit.callbacks.terminate_on_nan import NotFiniteError, TerminateOnNaN
from training.fit.resume import resume
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe
from training.runs.folder import RunFolder
from training.runs.reading import read_checkpoint

SMALL_FILES = 300_000
"""Bytes that a file may have: figures and tables fit, a checkpoint does not."""


def _diverging(*changes: str) -> Recipe:
    quick = ("epochs=3", "batch_size=20", "optimizer=sgd", "learning_rate=1e12")
    return get_recipe("baseline", [*quick, *changes])


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_batch(
    small_fashion: Dataset, tmp_path: Path
) -> None:
    dataset, folder = small_fashion.limited(100), RunFolder(tmp_path / "run")

    with pytest.raises(TrainingError, match=r"^The loss is (nan|inf) in epoch 1, step") as stopped:
        train(dataset, _diverging("random_shift=1"), folder.path)

    assert "\n" not in str(stopped.value)
    assert "there is no checkpoint yet" in str(stopped.value)
    bad = torch.load(folder.bad_batch, weights_only=True)
    assert not torch.tensor(bad["loss"]).isfinite()
    assert f"epoch {bad['epoch'] + 1}, step {bad['step'] + 1}" in str(stopped.value)
    stored = {image.numpy().tobytes() for image in dataset.train.images}
    assert {image.numpy().tobytes() for image in bad["images"]} <= stored
    assert len(bad["images"]) == len(bad["targets"]) == 20


@pytest.mark.parametrize("reader", ["on_before_backward", "on_train_epoch_end", "save"])
def test_losses_that_are_read_later_stop_the_run_before_a_checkpoint_is_written(
    tmp_path: Path, reader: str
) -> None:
    """As on a GPU, where no step waits for its loss."""
    trainer: Any = SimpleNamespace(current_epoch=0, is_global_zero=True)
    module: Any = SimpleNamespace(
        device=torch.device("cpu"), augmentation=torch.Generator(), named_parameters=list
    )
    watch = TerminateOnNaN(RunFolder(tmp_path), check_every=4)
    watch.on_train_epoch_start(trainer, module)

    def step(number: int, loss: float) -> None:
        watch.on_train_batch_start(trainer, module, (torch.zeros(1), torch.zeros(1)), number)
        watch.on_before_backward(trainer, module, torch.tensor(loss))

    for number, loss in enumerate((1.0, float("inf"), 1.0)):
        step(number, loss)
    with pytest.raises(NotFiniteError, match=r"^The loss is inf in epoch 1, step 2: ") as stopped:  # noqa: PT012
        if reader == "on_before_backward":
            step(3, 1.0)
        elif reader == "save":
            watch.on_save_checkpoint(trainer, module, {})
        else:
            watch.on_train_epoch_end(trainer, module)

    assert "The batch was not kept here" in str(stopped.value)


def test_a_batch_that_cannot_be_kept_does_not_hide_why_the_run_stopped(
    small_fashion: Dataset, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.bad_batch.mkdir(parents=True)  # no file can take its place

    with pytest.raises(TrainingError, match=r"^The loss is (nan|inf) in epoch 1, step") as stopped:
        train(small_fashion.limited(100), _diverging("random_shift=1"), folder.path)

    assert f"The batch could not be written to {folder.bad_batch} (Is a dir" in str(stopped.value)
    assert "A lower learning rate often helps" in str(stopped.value)
    assert [path for path in folder.path.iterdir() if path.name.endswith(".tmp")] == []


def test_a_checkpoint_never_holds_a_weight_that_is_no_number(
    small_fashion: Dataset, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")

    with pytest.raises(
        TrainingError, match=r"^The (weight|loss) .* in epoch 1, step [2-5]"
    ) as stopped:
        train(small_fashion.limited(100), _diverging(), folder.path, checkpoint_every=timedelta(0))

    assert f"the last good checkpoint is {folder.last}" in str(stopped.value)
    _, weights = read_checkpoint(folder.last)
    assert all(bool(weight.isfinite().all()) for weight in weights.values())


def test_the_command_says_so_in_one_line(
    command: Command, make_images: MakeImages, tmp_path: Path
) -> None:
    images = make_images(labels={"boot": 20, "coat": 20}, image_size=14)
    settings = ("epochs=2", "batch_size=8", "learning_rate=1e30", "precision=float32")
    options = [part for change in settings for part in ("--set", change)]

    finished = command(train_script, "--data", images, "--out", tmp_path / "run", *options)

    assert finished.code == 1
    assert finished.err.splitlines()[-1].startswith("error: The ")
    assert "there is no checkpoint yet" in finished.err
    assert "Traceback" not in finished.err


@pytest.fixture
def full_after_the_first_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """Once a checkpoint is written the system refuses every larger file, until this is closed."""
    disk = ExitStack()
    save = DurableCheckpoints.save_checkpoint

    def save_then_fill(self: DurableCheckpoints, *given: Any, **named: Any) -> None:
        save(self, *given, **named)
        path = given[1]
        if Path(path).name == "last.ckpt":
            monkeypatch.undo()
            disk.enter_context(limited_files(SMALL_FILES))

    monkeypatch.setattr(DurableCheckpoints, "save_checkpoint", save_then_fill)
    with disk:
        yield disk


def test_a_full_disk_stops_the_run_and_leaves_the_checkpoint_before_whole(
    small_fashion: Dataset,
    small_recipe: Recipe,
    tmp_path: Path,
    full_after_the_first_checkpoint: ExitStack,
) -> None:
    dataset, folder = small_fashion.limited(100), RunFolder(tmp_path / "run")
    full = pytest.raises(TrainingError, match=r"could not be written: File too large")

    with full_after_the_first_checkpoint, full as stopped:
        train(dataset, small_recipe, folder.path, seed=3)

    assert "\n" not in str(stopped.value)
    assert f"Make room and continue with --resume: {folder.last} is intact." in str(stopped.value)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert torch.load(folder.last, weights_only=True)["epoch"] == 0
    assert resume(folder.path, dataset, recipe=small_recipe, seed=3).epochs == 3


def test_a_disk_that_is_full_from_the_start_leaves_no_half_record_of_the_run(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    room = len(small_recipe.model_dump_json(indent=2)) + 10  # run.json is longer
    full = pytest.raises(TrainingError, match="Make room and start again: nothing was saved yet")

    with limited_files(room), full:
        train(small_fashion.limited(100), small_recipe, folder.path)

    assert [path.name for path in folder.path.iterdir()] == ["recipe.json"]
