"""A run that was stopped goes on as if it had not been."""

import csv
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from training.checkpoints import DurableCheckpoints
from training.datasets.dataset import Dataset, Split
from training.datasets.folder import read_picture_folder
from training.fitting import TrainingError
from training.recipes import Recipe, get_recipe
from training.run import RunFolder
from training.train import Outcome, train

MakePictures = Callable[..., Path]
# Every source of chance and every state that a checkpoint must carry: order, augmentation,
# dropout, momentum, a schedule by steps, averaged weights, a twin.
CHANGES = (
    "epochs=4",
    "batch_size=24",
    "learning_rate=0.05",
    "precision=float32",
    "ema_decay=0.9",
    "shift=1",
    "erase=0.2",
    "mutual=0.5",
)
TRAIN = (  # a shell that starts us in the background makes our children deaf to Ctrl+C
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from training.cli import train_script; train_script()"
)


@pytest.fixture
def pictures(make_pictures: MakePictures) -> Path:
    return make_pictures(labels={"bag": 40, "boot": 40, "coat": 40}, side=14)


def _start(pictures: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    settings = [part for change in CHANGES for part in ("--set", change)]
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, "--data", pictures, "--out", out, *settings, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_epoch(process: "subprocess.Popen[str]", folder: RunFolder) -> None:
    """Wait until one epoch is in the table and its weights are on the disk."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if folder.last.exists() and len(_rows(folder)) >= 1:
            return
        time.sleep(0.005)
    raise AssertionError(f"no epoch came to its end: {process.communicate()}")


def _rows(folder: RunFolder) -> list[dict[str, str]]:
    with folder.metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def _state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Averaged and current weights, and what the optimiser remembers."""
    content = torch.load(checkpoint, weights_only=True)
    state = {f"averaged {name}": value for name, value in content["state_dict"].items()}
    current = content.get("current_model_state", {})
    state |= {f"current {name}": value for name, value in current.items()}
    state |= {f"dice {name}": value for name, value in content["random"].items()}
    for number, memory in content["optimizer_states"][0]["state"].items():
        state |= {f"memory {number} {name}": value for name, value in memory.items()}
    return state


def _assert_same_run(folder: RunFolder, reference: RunFolder) -> None:
    state, expected = _state(folder.last), _state(reference.last)
    assert state.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(state[name], expected[name])]
    assert different == []
    clocks = {"seconds", "cpu_seconds"}
    figures = [{k: v for k, v in row.items() if k not in clocks} for row in _rows(folder)]
    wanted = [{k: v for k, v in row.items() if k not in clocks} for row in _rows(reference)]
    assert figures == wanted


def test_a_run_killed_without_warning_goes_on_to_the_very_same_weights(
    pictures: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "killed")
    process = _start(pictures, folder.path)
    _wait_for_epoch(process, folder)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    rows = _rows(folder)
    assert len(rows) < 4
    with folder.metrics.open("w", newline="") as file:  # as if it had been a long run
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({**row, "seconds": "7000", "cpu_seconds": "9000"} for row in rows)
    dataset, recipe = read_picture_folder(pictures), get_recipe("default", CHANGES)

    resumed = train(dataset, recipe, folder.path, resume=True)

    whole = train(dataset, recipe, tmp_path / "whole")
    assert resumed.epochs == whole.epochs == 4
    assert resumed.best == whole.best
    added = _rows(folder)[len(rows) :]
    assert all(float(row["seconds"]) > 7000 for row in added)
    assert all(float(row["cpu_seconds"]) > 9000 for row in added)
    _assert_same_run(resumed.folder, whole.folder)


def test_a_run_killed_within_an_epoch_goes_on_to_the_very_same_weights(
    pictures: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "killed")
    changes = (*CHANGES, "epochs=2", "batch_size=6")  # 16 steps an epoch
    more = [part for change in changes for part in ("--set", change)]
    process = _start(pictures, folder.path, *more, "--keep-every", "0")
    deadline = time.monotonic() + 120
    while not folder.last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert torch.load(folder.last, weights_only=True)["global_step"] % 16 != 0
    dataset, recipe = read_picture_folder(pictures), get_recipe("default", changes)

    resumed = train(dataset, recipe, folder.path, resume=True)

    whole = train(dataset, recipe, tmp_path / "whole")
    assert resumed.best == whole.best
    _assert_same_run(resumed.folder, whole.folder)


def test_every_checkpoint_that_a_run_wrote_leads_to_the_same_end(
    small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within epochs and after them, with a plateau that falls and early stopping that comes."""
    kept = _keep_all(tmp_path / "kept", monkeypatch)
    changes = ["epochs=9", "batch_size=25", "plateau_patience=0", "early_stopping=2", "shift=1"]
    recipe = get_recipe("baseline", changes)
    dataset = small_fashion.limited(50)
    guessed = dataset.train.targets.flip(0)  # nothing to learn but the training split
    dataset = replace(dataset, train=Split(dataset.train.images, guessed))
    whole = train(dataset, recipe, tmp_path / "whole", keep_every=timedelta(0))
    rates = {row["learning_rate"] for row in _rows(whole.folder)}
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

        resumed = train(dataset, recipe, folder.path, resume=True)

        assert (resumed.epochs, resumed.best) == (whole.epochs, whole.best)
        _assert_same_run(folder, whole.folder)


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


def test_ctrl_c_ends_a_run_with_its_weights_kept_and_resume_takes_it_up(
    pictures: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "stopped")
    process = _start(pictures, folder.path)
    _wait_for_epoch(process, folder)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert "stopped by hand after" in out, err
    assert process.returncode == 130  # a chain of commands ends here
    assert f"to go on: train-model --resume --out {folder.path}" in out
    assert folder.best.exists()

    again = subprocess.run(  # as it says
        [sys.executable, "-c", TRAIN, "--resume", "--out", folder.path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    out, err = again.stdout, again.stderr

    assert "done after 4 epochs" in out, err
    dataset, recipe = read_picture_folder(pictures), get_recipe("default", CHANGES)
    _assert_same_run(folder, train(dataset, recipe, tmp_path / "whole").folder)


def test_ctrl_c_before_the_first_epoch_is_over_says_that_there_are_no_weights(
    pictures: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "stopped")
    process = _start(pictures, folder.path, "--set", "batch_size=1", "--set", "epochs=9")
    deadline = time.monotonic() + 120
    while not folder.metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.2)  # the bar's thread is under way, the epoch of 96 steps is not over

    process.send_signal(signal.SIGINT)

    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out
    assert err.splitlines()[-1].startswith("error: Stopped before the first epoch was over")


def test_a_finished_run_can_be_resumed_and_stays_as_it_was(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = small_recipe.model_copy(update={"epochs": 1})
    data = small_fashion.limited(60)
    first = train(data, recipe, tmp_path / "run")
    before = _state(first.folder.last)

    resumed = train(data, recipe, tmp_path / "run", resume=True)

    after = _state(resumed.folder.last)
    assert resumed.best == first.best
    assert len(_rows(first.folder)) == 1
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_there_must_be_something_to_resume(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="There is nothing to resume: There is no checkpoint"):
        train(small_fashion, small_recipe, tmp_path / "run", resume=True)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("field", ["epochs", "seed", "data set", "architecture"])
def test_a_run_is_not_resumed_as_another(
    trained: Outcome, small_fashion: Dataset, small_recipe: Recipe, field: str
) -> None:
    dataset, recipe, seed = small_fashion, small_recipe, 3
    if field == "epochs":
        recipe = small_recipe.model_copy(update={"epochs": 9})
    elif field == "seed":
        seed = 4
    elif field == "data set":
        dataset = replace(small_fashion, sha256="0" * 64)
    else:
        dataset = replace(small_fashion, labels=("a", "b"))
        recipe = small_recipe.model_copy(update={"expected": "measured since"})  # is no difference
    before = trained.folder.last.stat().st_mtime_ns

    with pytest.raises(TrainingError, match=f"was trained with another {field}") as refused:
        train(dataset, recipe, trained.folder.path, seed=seed, resume=True)

    assert "\n" not in str(refused.value)
    assert trained.folder.last.stat().st_mtime_ns == before
