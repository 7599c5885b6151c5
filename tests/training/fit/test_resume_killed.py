"""A run that was killed, or stopped by Ctrl+C, goes on as if it had not been."""

import csv
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.conftest import MakeImages
from tests.training.processes import TrainProcess
from tests.training.run_files import assert_same_run, rows_of
from training.data.folder import read_image_folder
from training.fit.resume import resume
from training.fit.train import train
from training.recipe.presets import get_recipe
from training.runs.folder import RunFolder

# Every source of chance and every state that a checkpoint must carry: order, augmentation,
# dropout, momentum, a schedule by steps, averaged weights.
CHANGES = (
    "epochs=4",
    "batch_size=24",
    "learning_rate=0.05",
    "precision=float32",
    "ema_decay=0.9",
    "random_shift=1",
    "random_erasing=0.2",
)
Start = Callable[..., TrainProcess]


@pytest.fixture
def images(make_images: MakeImages) -> Path:
    return make_images(labels={"bag": 40, "boot": 40, "coat": 40}, image_size=14)


@pytest.fixture
def start(images: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a run of the command in a process of its own; none outlives its test."""
    started = []

    def start_run(out: Path, *more: str) -> TrainProcess:
        settings = ["--recipe", "default"]
        settings += [part for change in CHANGES for part in ("--set", change)]
        started.append(TrainProcess(tmp_path, "--data", images, "--out", out, *settings, *more))
        return started[-1]

    yield start_run
    for process in started:
        process.kill()


def _wait_for_epoch(process: TrainProcess, folder: RunFolder) -> None:
    """Wait until one epoch is in the table and its weights are on the disk."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_running():
        if folder.last.exists() and len(rows_of(folder)) >= 1:
            return
        time.sleep(0.005)
    raise AssertionError(f"no epoch came to its end: {process.finish()}")


def test_a_run_killed_without_warning_goes_on_to_the_very_same_weights(
    start: Start, images: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "killed")
    process = start(folder.path)
    _wait_for_epoch(process, folder)
    process.kill()
    rows = rows_of(folder)
    assert len(rows) < 4
    with folder.metrics.open("w", newline="") as file:  # as if it had been a long run
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({**row, "seconds": "7000", "cpu_seconds": "9000"} for row in rows)
    dataset, recipe = read_image_folder(images), get_recipe("default", CHANGES)

    resumed = resume(folder.path, dataset, recipe=recipe)

    whole = train(dataset, recipe, tmp_path / "whole")
    assert resumed.epochs == whole.epochs == 4
    assert resumed.best == whole.best
    added = rows_of(folder)[len(rows) :]
    assert all(float(row["seconds"]) > 7000 for row in added)
    assert all(float(row["cpu_seconds"]) > 9000 for row in added)
    assert_same_run(resumed.folder, whole.folder)


def test_a_run_killed_within_an_epoch_goes_on_to_the_very_same_weights(
    start: Start, images: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "killed")
    changes = (*CHANGES, "epochs=2", "batch_size=6")  # 16 steps an epoch
    more = [part for change in changes for part in ("--set", change)]
    process = start(folder.path, *more, "--checkpoint-minutes", "0")
    deadline = time.monotonic() + 120
    while not folder.last.exists() and process.is_running() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert torch.load(folder.last, weights_only=True)["global_step"] % 16 != 0
    dataset, recipe = read_image_folder(images), get_recipe("default", changes)

    resumed = resume(folder.path, dataset, recipe=recipe)

    whole = train(dataset, recipe, tmp_path / "whole")
    assert resumed.best == whole.best
    assert_same_run(resumed.folder, whole.folder)


def test_ctrl_c_ends_a_run_with_its_weights_kept_and_resume_takes_it_up(
    start: Start, images: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "stopped")
    process = start(folder.path)
    _wait_for_epoch(process, folder)
    process.send(signal.SIGINT)
    code, out, err = process.finish()
    assert "interrupted after" in out, err
    assert code == 130  # a chain of commands ends here
    assert f"to continue: train-model --resume --out {folder.path}" in out
    assert folder.best.exists()

    _, out, err = TrainProcess(tmp_path, "--resume", "--out", folder.path).finish()  # as it says

    assert "done after 4 epochs" in out, err
    dataset, recipe = read_image_folder(images), get_recipe("default", CHANGES)
    assert_same_run(folder, train(dataset, recipe, tmp_path / "whole").folder)


def test_ctrl_c_before_the_first_epoch_is_over_says_that_there_are_no_weights(
    start: Start, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "stopped")
    process = start(folder.path, "--set", "batch_size=1", "--set", "epochs=9")
    deadline = time.monotonic() + 120
    while not folder.metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.2)  # the bar's thread is under way, the epoch of 96 steps is not over

    process.send(signal.SIGINT)

    code, out, err = process.finish()
    assert code == 1, out
    assert err.splitlines()[-1].startswith("error: Stopped before the end of the first epoch")
