"""A run goes on with the files that it began with, whatever became of their folder."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from PIL import Image

from tests.conftest import Command, MakeImages
from tests.training.run_files import assert_same_run, ctrl_c_in
from training.cli.main import train_script
from training.data.dataset import Dataset
from training.data.folder import read_image_folder
from training.data.random_crop import RandomCrop
from training.fit.resume import resume
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.runs.folder import RunFolder

RECIPE = get_recipe("default", ["epochs=2", "batch_size=8", "random_shift=1"])


@pytest.fixture
def dataset(make_images: MakeImages) -> Dataset:
    return read_image_folder(make_images(labels={"boot": 14, "coat": 14}, image_size=14))


@pytest.fixture
def stopped(dataset: Dataset, tmp_path: Path) -> RunFolder:
    """A run that was stopped within its second epoch, of three steps."""
    with ctrl_c_in(step=4):
        return train(dataset, RECIPE, tmp_path / "stopped").folder


def test_images_that_came_since_are_left_out(
    command: Command, dataset: Dataset, stopped: RunFolder, tmp_path: Path
) -> None:
    Image.new("RGB", (20, 20)).save(Path(dataset.source) / "boot" / "0-new.png")

    resumed = command(train_script, "--resume", "--out", stopped.path)

    assert resumed.code == 0, resumed.err
    assert "1 new files since the run started; they are not used" in resumed.out
    assert_same_run(stopped, train(dataset, RECIPE, tmp_path / "whole").folder)


def test_crops_from_files_are_those_of_a_run_that_was_not_stopped_and_had_no_workers(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPE.model_copy(update={"rrc_min_area": 0.3, "rrc_from_file": True})
    cut, decode = [], RandomCrop.decode

    def watched(self: RandomCrop, *arguments: Any) -> Any:
        cut.append(arguments[-2:])
        return decode(self, *arguments)

    monkeypatch.setattr(RandomCrop, "decode", watched)
    whole = train(dataset, recipe, tmp_path / "whole").folder
    assert {epoch for epoch, _ in cut} == {0, 1}
    assert len(set(cut)) == len(cut) == 2 * len(dataset.train)
    monkeypatch.setattr("training.data.loader.MIN_IMAGES_FOR_WORKERS", 0)
    with ctrl_c_in(step=4):
        begun = train(dataset, recipe, tmp_path / "stopped").folder

    resume(begun.path, dataset)

    assert_same_run(begun, whole)


def test_a_file_that_is_gone_is_named(
    command: Command, dataset: Dataset, stopped: RunFolder
) -> None:
    gone = dataset.files["train"][3]
    (Path(dataset.source) / gone).unlink()

    refused = command(train_script, "--resume", "--out", stopped.path)

    assert refused.code == 1
    (error,) = refused.err.splitlines()
    assert error.startswith(f"error: {dataset.source} lacks files of {stopped.path}")
    assert f": {gone}. Restore them" in error


def test_images_that_moved_are_found_where_they_are_said_to_be(
    command: Command, dataset: Dataset, stopped: RunFolder, tmp_path: Path
) -> None:
    moved = Path(dataset.source).rename(tmp_path / "moved")

    resumed = command(train_script, "--resume", "--out", stopped.path, "--data", moved)

    assert resumed.code == 0, resumed.err
    assert "done after 2 epochs" in resumed.out
