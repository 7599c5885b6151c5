"""The commands from data to artifact: what they print, write, and refuse."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")


from model.artifact.folder import read
from tests.conftest import Command, MakeImages
from training.cli.main import evaluate_script, export_script, train_script
from training.recipe.recipe import Recipe

QUICK = ("--set", "epochs=1", "--set", "batch_size=16", "--set", "precision=float32")


@pytest.fixture
def images(make_images: MakeImages) -> Path:
    return make_images(labels={"boot": 20, "coat": 20}, image_size=14)


@pytest.fixture
def run(command: Command, images: Path, tmp_path: Path) -> Path:
    """A run folder of one epoch on those images."""
    finished = command(train_script, "--data", images, "--out", tmp_path / "run", *QUICK)
    assert finished.code == 0, finished.err
    return tmp_path / "run"


def _assert_failed(finished: Any, cause: str) -> None:
    assert finished.code == 1
    assert cause in finished.err
    assert finished.err.startswith("error: ")
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "example"),
    [
        (train_script, "Example: train-model --recipe default"),
        (evaluate_script, "Example: evaluate-model runs/default-0"),
        (export_script, "Example: export-model runs/default-0 --out artifacts/fashion-mnist/1"),
    ],
)
def test_help_shows_an_example(command: Command, script: Callable[[], None], example: str) -> None:
    finished = command(script, "--help")

    assert finished.code == 0
    assert example in finished.out


@pytest.mark.parametrize(
    ("script", "arguments", "cause"),
    [
        (train_script, ("--seed", "-1"), "--seed"),
        (train_script, ("--seed", 2**32), "--seed"),
        (train_script, ("--speed", "fast"), "--speed"),
        (evaluate_script, (), "Missing argument"),
        (export_script, (), "--out"),
        (export_script, ("runs/a",), "--out"),
        (export_script, ("--out", "a/1"), "give a CHECKPOINT, --weights NAME, or --arch"),
        (
            export_script,
            ("--out", "a/1", "--random"),
            "give a CHECKPOINT, --weights NAME, or --arch",
        ),
        (export_script, ("runs/a", "--out", "a/1", "--random"), "give a CHECKPOINT"),
        (export_script, ("runs/a", "--out", "a/1", "--architecture", "resnet18"), "give a"),
        (
            export_script,
            ("--out", "a/1", "--random", "--architecture", "resnet19"),
            "Did you mean 'resnet18'",
        ),
    ],
)
def test_bad_usage_exits_with_2_and_says_why(
    command: Command, script: Callable[[], None], arguments: tuple[object, ...], cause: str
) -> None:
    finished = command(script, *arguments)

    assert finished.code == 2
    assert cause in finished.err


def test_training_says_what_it_read_and_where_the_weights_are(
    command: Command, images: Path, tmp_path: Path
) -> None:
    (images / "boot" / "broken.png").write_text("no image")

    finished = command(train_script, "--data", images, "--out", tmp_path / "run", *QUICK)

    assert finished.code == 0
    files = json.loads((tmp_path / "run" / "splits.json").read_text())
    counts = " + ".join(str(len(files[name])) for name in ("train", "validation", "test"))
    read = f"images: {counts} images to train, validate and test, 2 labels, 14 x 14 x 1"
    assert read in finished.out
    assert f"left out:\n  {images / 'boot' / 'broken.png'}" in finished.out
    assert "done after 1 epoch; best val_acc" in finished.out
    assert f"weights in {tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}" in finished.out


def test_show_prints_every_field_with_its_value_and_meaning(command: Command) -> None:
    finished = command(train_script, "--show", "fast", "--set", "epochs=7")

    assert finished.code == 0
    for name, field in Recipe.model_fields.items():
        assert name == "name" or f"{name} " in finished.out
        assert name == "name" or str(field.description).split()[0] in finished.out
    assert re.search(r"epochs +7 +Passes over", finished.out)


def test_evaluation_prints_the_figures_that_it_writes(command: Command, run: Path) -> None:
    finished = command(evaluate_script, run)

    figures = json.loads((run / "evaluation.json").read_text())
    assert finished.code == 0
    assert (
        f"{figures['n']} test images: loss {figures['loss']:.4f}, top-1 {figures['top1']:.2%}"
        in (finished.out)
    )
    assert set(figures["per_label"]) == {"boot", "coat"}
    assert (run / "confusion.png").exists()
    assert (run / "reliability.png").exists()
    assert f"written: {run / 'evaluation.json'}" in finished.out


def test_evaluation_writes_to_the_folder_that_is_named(
    command: Command, run: Path, tmp_path: Path
) -> None:
    finished = command(evaluate_script, run / "checkpoints" / "last.ckpt", "--out", tmp_path / "r")

    assert finished.code == 0
    assert (tmp_path / "r" / "evaluation.json").exists()
    assert not (run / "checkpoints" / "evaluation.json").exists()


def test_evaluation_on_other_images_brings_them_to_the_runs_size_and_says_so(
    command: Command, run: Path, make_images: MakeImages
) -> None:
    larger = make_images("larger", {"boot": 20, "coat": 20}, image_size=20)

    finished = command(evaluate_script, run, "--data", larger)

    assert finished.code == 0, finished.err
    assert "14 x 14 x 1" in finished.out
    assert "note: these are not the images of the run" in finished.out


def test_images_that_a_run_may_have_learnt_from_do_not_measure_it(
    command: Command, run: Path, images: Path, tmp_path: Path
) -> None:
    for path in sorted(images.glob("*/*.png")):
        copy = tmp_path / "renamed" / path.parent.name / f"copy-{path.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())

    evaluated = command(evaluate_script, run, "--data", tmp_path / "renamed")
    out = ("--out", tmp_path / "renamed" / "1")
    exported = command(export_script, run, "--data", tmp_path / "renamed", *out)

    assert evaluated.code == 0, evaluated.err
    held = json.loads((run / "splits.json").read_text())
    known = len(held["train"]) + len(held["validation"])
    assert f"left out: {known} images that the run was trained on, or that chose" in evaluated.out
    assert f"renamed, {len(held['test'])} images: loss" in evaluated.out
    assert (run / "evaluations/renamed/evaluation.json").exists()
    assert not (run / "evaluation.json").exists()
    _assert_failed(exported, "It is not known which of them the run was trained on")


def test_evaluation_on_images_that_do_not_fit_fails_in_one_line(
    command: Command, run: Path, make_images: MakeImages
) -> None:
    others = make_images("others", {"bag": 9, "hat": 9}, image_size=14)

    finished = command(evaluate_script, run, "--data", others)

    _assert_failed(finished, "Its labels are bag, hat; the model's labels are boot, coat.")


def test_evaluation_takes_data_with_only_some_of_the_runs_labels(
    command: Command, run: Path, make_images: MakeImages, tmp_path: Path
) -> None:
    for split in ("train", "val", "test"):
        some = make_images(f"some/{split}", {"coat": 3}, image_size=14).parent

    finished = command(evaluate_script, run, "--data", some, "--out", tmp_path / "report")

    assert finished.code == 0, finished.err
    assert "read `train` as the training split, `val` as" in finished.out
    assert "no test  boot" in finished.out


def test_export_writes_an_artifact_that_reads_back(
    command: Command, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "artifacts" / "shoes" / "1"

    finished = command(export_script, run, "--out", out, "--precision", "float32")

    assert finished.code == 0, finished.err
    manifest = read(out).manifest
    assert manifest.labels == ("boot", "coat")
    assert f"written: {out} (mini_resnet, {manifest.files['float32'].bytes:,} bytes" in finished.out
    _assert_failed(command(export_script, run, "--out", out), "already exists")


def test_random_weights_are_exported_without_any_data(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "random" / "1"

    finished = command(export_script, "--random", "--architecture", "mini_resnet", "--out", out)

    assert finished.code == 0, finished.err
    assert read(out).manifest.metrics is None


@pytest.mark.parametrize(
    ("script", "arguments", "cause"),
    [
        (train_script, ("--recipe", "slow"), "There is no recipe 'slow'"),
        (train_script, ("--set", "epochs=many"), "`--set epochs=many`"),
        (train_script, ("--data", "nowhere"), "nowhere is not a folder"),
        (evaluate_script, ("nowhere.ckpt",), "There is no checkpoint at nowhere.ckpt"),
        (train_script, ("--data", "n" * 300), "n" * 300),  # longer than a name may be
        (evaluate_script, ("n" * 300,), "n" * 300),
        (export_script, ("nowhere.ckpt", "--out", "a/1"), "There is no checkpoint"),
    ],
)
def test_a_failure_is_one_line_on_stderr_and_exit_1(
    command: Command, script: Callable[[], None], arguments: tuple[str, ...], cause: str
) -> None:
    _assert_failed(command(script, *arguments), cause)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("architecture=resnet19", "Did you mean 'resnet18'"),
        ("random_shift=14", "`random_shift` (=14)"),
        ("random_shift=9", "`random_shift` (=9)"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data_fails_in_one_line(
    command: Command, images: Path, tmp_path: Path, change: str, cause: str
) -> None:
    arguments = ("--data", images, "--out", tmp_path / "run", "--set", change)

    _assert_failed(command(train_script, *arguments), cause)
    assert not (tmp_path / "run").exists()


def test_a_second_run_in_one_folder_fails_in_one_line(
    command: Command, run: Path, images: Path
) -> None:
    _assert_failed(
        command(train_script, "--data", images, "--out", run, *QUICK), "already contains a run"
    )


def test_the_command_fails_as_a_process_of_its_own() -> None:
    code = "from training.cli.main import evaluate_script; evaluate_script()"
    finished = subprocess.run(
        [sys.executable, "-c", code, "nowhere"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MPLBACKEND": "module of a notebook", "PYTHONIOENCODING": "ascii"},
    )

    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr == "error: There is no checkpoint at nowhere.\n"
