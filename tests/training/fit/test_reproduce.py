"""A run folder is enough to run it again, to the same last bit."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from tests.conftest import Command, MakeImages
from tests.training.run_files import ctrl_c_in
from training.cli.main import evaluate_script, train_script
from training.data.folder import read_image_folder
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.runs.environment import Environment
from training.runs.folder import RunFolder
from training.runs.reading import RECORD_KEY, read_record
from training.runs.record import CheckpointError

QUICK = ("--set", "epochs=1", "--set", "batch_size=8", "--set", "random_erasing=0.3")


@pytest.fixture
def images(make_images: MakeImages) -> Path:
    return make_images(labels={"boot": 14, "coat": 14}, image_size=14)


@pytest.fixture
def run(command: Command, images: Path, tmp_path: Path) -> Path:
    """A run with a seed of its own that began with another run's weights."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert command(train_script, "--data", images, "--out", first, *QUICK).code == 0
    init = tmp_path / "init.pth"
    record = torch.load(RunFolder(first).last, weights_only=True)["state_dict"]
    network = {k.removeprefix("network."): v for k, v in record.items() if "network." in k}
    torch.save(network, init)
    options = ("--data", images, "--out", second, "--init", init, "--seed", 5)
    finished = command(train_script, *options, *QUICK)
    assert finished.code == 0, finished.err
    return second


def test_a_reproduced_run_comes_to_the_very_same_weights(command: Command, run: Path) -> None:
    finished = command(train_script, "--reproduce", run)

    assert finished.code == 0, finished.err
    assert f"the final weights are the same as those of {run}, bit for bit" in finished.out
    again = run.with_name("second-again")
    was, is_now = (
        torch.load(RunFolder(folder).last, weights_only=True)["state_dict"]
        for folder in (run, again)
    )
    assert all(torch.equal(was[name], is_now[name]) for name in was)
    before, after = read_record(run), read_record(again)
    assert before.model_copy(update={"created": ""}) == after.model_copy(update={"created": ""})


def test_a_run_that_was_stopped_is_not_compared_with_its_whole_repetition(
    command: Command, images: Path, tmp_path: Path
) -> None:
    recipe, run = get_recipe("default", ["epochs=2", "batch_size=8"]), tmp_path / "run"
    with ctrl_c_in(step=4):  # the second of the second epoch's three
        assert train(read_image_folder(images), recipe, run).interrupted

    finished = command(train_script, "--reproduce", run)

    assert finished.code == 0, finished.err
    assert f"note: {run} was not finished: it has 1 epochs, this run 2, so" in finished.out
    assert "bit for bit" not in finished.out


def test_a_run_is_not_reproduced_on_other_images(command: Command, run: Path, images: Path) -> None:
    Image.new("L", (14, 14), 200).save(images / "boot" / "3.png")

    finished = command(train_script, "--reproduce", run)

    assert finished.code == 1
    assert "are not those of the run (SHA-256" in finished.err
    assert not run.with_name("second-again").exists()


def test_a_run_is_not_reproduced_from_other_weights(
    command: Command, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "init.pth").write_bytes(b"others")

    finished = command(train_script, "--reproduce", run)

    assert finished.code == 1
    assert "is not what the run started from, init.pth sha256:" in finished.err


def test_first_weights_may_have_moved(command: Command, run: Path, tmp_path: Path) -> None:
    moved = (tmp_path / "init.pth").rename(tmp_path / "elsewhere.pth")

    lost = command(train_script, "--reproduce", run)
    found = command(train_script, "--reproduce", run, "--init", moved)

    assert lost.code == 1
    assert "init.pth is not what the run started from, init.pth sha256:" in lost.err
    assert lost.err.rstrip().endswith("; name that one with --init.")
    assert found.code == 0, found.err
    assert f"the final weights are the same as those of {run}, bit for bit" in found.out


def test_what_differs_from_then_is_reported(command: Command, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record["environment"]["versions"]["numpy"] = "1.0"
    record["commit"] = "0123456789ab"
    (run / "run.json").write_text(json.dumps(record))

    finished = command(train_script, "--reproduce", run)

    assert "note: numpy was 1.0 and is " in finished.out
    assert "note: the commit was 0123456789ab and is " in finished.out


def test_the_same_environment_has_no_differences() -> None:
    assert Environment.present().differences() == []


def test_a_record_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text("no record")

    with pytest.raises(CheckpointError, match=r"run.json is not a valid record of a run"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "option", [("--seed", 3), ("--seed", 0), ("--set", "epochs=2"), ("--resume",)]
)
def test_a_reproduced_run_takes_no_other_recipe_or_seed(
    command: Command, option: tuple[object, ...]
) -> None:
    finished = command(train_script, "--reproduce", "runs/a", *option)

    assert finished.code == 2
    assert "--reproduce" in finished.err


def test_a_run_of_an_earlier_recipe_is_evaluated_but_neither_resumed_nor_reproduced(
    command: Command, images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert command(train_script, "--data", images, "--out", run, *QUICK).code == 0
    _make_earlier(RunFolder(run))

    evaluated = command(evaluate_script, run)
    resumed = command(train_script, "--resume", "--out", run)
    repeated = command(train_script, "--reproduce", run)

    assert evaluated.code == 0, evaluated.err
    assert f"an earlier version wrote {run}; ignored fields: recipe.mutual" in evaluated.out
    assert (resumed.code, repeated.code) == (1, 1)
    for refused in (resumed, repeated):
        assert f"{run} was trained with recipe.mutual, which this version" in refused.err
        assert len(refused.err.splitlines()) == 1


def _make_earlier(folder: RunFolder) -> None:
    """Make a run's record one of schema 1, with a field in its recipe that is no more."""
    record = json.loads(folder.record.read_text())
    record["schema_version"] = 1
    record["recipe"]["mutual"] = 0.5
    folder.record.write_text(json.dumps(record))
    for path in (folder.best, folder.last):
        content = torch.load(path, weights_only=True)
        torch.save({**content, RECORD_KEY: json.dumps(record)}, path)
