"""Resuming from a run's checkpoints: each leads to the same end, and none to another run."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from tests.training.run_files import assert_same_run, ctrl_c_in, rows_of, state_of
from training.data.dataset import Dataset, MemorySplit
from training.errors import TrainingError
from training.fit.callbacks.checkpointing import DurableCheckpoints
from training.fit.loop import Outcome
from training.fit.resume import resume
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe
from training.runs.folder import RunFolder


def test_every_checkpoint_that_a_run_wrote_leads_to_the_same_end(
    small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within epochs and after them, with a plateau that falls and early stopping that comes."""
    kept = _keep_all(tmp_path / "kept", monkeypatch)
    changes = [
        "epochs=9",
        "batch_size=25",
        "plateau_patience=0",
        "early_stopping=2",
        "random_shift=1",
    ]
    recipe = get_recipe("baseline", changes)
    dataset = small_fashion.limited(50)
    guessed = dataset.train.targets.flip(0)  # nothing to learn but the training split
    dataset = replace(dataset, train=MemorySplit(dataset.train.images, guessed))
    whole = train(dataset, recipe, tmp_path / "whole", checkpoint_every=timedelta(0))
    rates = {row["learning_rate"] for row in rows_of(whole.folder)}
    assert 2 < whole.epochs < 9, "early stopping did not come"
    assert len(rates) > 1, "the plateau did not fall"
    files = sorted(kept.iterdir())
    assert len(files) == 2 * whole.epochs  # a step is the last of two, and not kept itself

    for file in files:
        folder = RunFolder(tmp_path / file.stem)
        folder.checkpoints.mkdir(parents=True)
        shutil.copy(file, folder.last)
        shutil.copy(whole.folder.best, folder.best)
        shutil.copy(whole.folder.metrics, folder.metrics)

        resumed = resume(folder.path, dataset, recipe=recipe)

        assert (resumed.epochs, resumed.best) == (whole.epochs, whole.best)
        assert_same_run(folder, whole.folder)


def _keep_all(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy each `last.ckpt` aside as soon as it is written."""
    kept.mkdir()
    save = DurableCheckpoints.save_checkpoint

    def save_and_copy(self: DurableCheckpoints, *given: Any, **named: Any) -> None:
        save(self, *given, **named)
        path = given[1]
        if Path(path).name == "last.ckpt" and "whole" in str(path):
            shutil.copy(path, kept / f"{len(list(kept.iterdir())):02}.ckpt")

    monkeypatch.setattr(DurableCheckpoints, "save_checkpoint", save_and_copy)
    return kept


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("record", ()),  # mixup and CutMix, a cooldown, growing images, a long average, bfloat16
        ("finetune", ("architecture=resnet20",)),  # crops, a slow backbone, a cosine, no average
    ],
)
def test_a_recipe_that_is_interrupted_goes_on_to_the_very_same_weights(
    small_fashion: Dataset, tmp_path: Path, name: str, changes: tuple[str, ...]
) -> None:
    recipe = get_recipe(name, ["epochs=2", "batch_size=16", *changes])
    dataset = small_fashion.limited(64)
    with ctrl_c_in(step=5):  # the second of the second epoch's four
        stopped = train(dataset, recipe, tmp_path / "run", checkpoint_every=timedelta(0))
    assert stopped.interrupted
    assert torch.load(stopped.folder.last, weights_only=True)["global_step"] == 6

    resumed = resume(tmp_path / "run", dataset, recipe=recipe)

    whole = train(dataset, recipe, tmp_path / "whole")
    assert (resumed.epochs, resumed.best) == (whole.epochs, whole.best)
    assert_same_run(resumed.folder, whole.folder)


def test_a_finished_run_can_be_resumed_and_stays_as_it_was(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1})
    data = small_fashion.limited(60)
    first = train(data, recipe, tmp_path / "run")
    before = state_of(first.folder.last)

    resumed = resume(tmp_path / "run", data, recipe=recipe)

    after = state_of(resumed.folder.last)
    assert resumed.best == first.best
    assert len(rows_of(first.folder)) == 1
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_there_must_be_something_to_resume(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="There is nothing to resume: There is no checkpoint"):
        resume(tmp_path / "run", small_fashion, recipe=small_recipe)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", ["epochs", "seed", "data set", "image size", "architecture"])
def test_a_run_is_not_resumed_as_another(
    trained: Outcome, fashion: Dataset, small_fashion: Dataset, small_recipe: Recipe, field: str
) -> None:
    dataset, recipe, seed = small_fashion, small_recipe, 3
    if field == "epochs":
        recipe = small_recipe.model_copy(update={"epochs": 9})
    elif field == "seed":
        seed = 4
    elif field == "data set":
        dataset = replace(small_fashion, sha256="0" * 64)
    elif field == "image size":
        dataset = fashion
    else:
        dataset = replace(small_fashion, labels=("a", "b"))
    before = trained.folder.last.stat().st_mtime_ns

    with pytest.raises(TrainingError, match=f"was trained with another {field}") as refused:
        resume(trained.folder.path, dataset, recipe=recipe, seed=seed)

    assert "\n" not in str(refused.value)
    assert trained.folder.last.stat().st_mtime_ns == before
