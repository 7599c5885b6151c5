"""docs/tutorial.md: its first commands do what it says, and print what it shows.

Here the training is shorter, on a third of the images, and ends with the evaluation.
`make test-scale` runs all of the page as it is written (tests/scale/test_tutorial.py).
"""

import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.conftest import Command
from tests.examples.tutorial import INSTALLED, copy_tree, environment, read_steps, shell, unprinted
from training.cli.main import evaluate_script, train_script

OURS = {"train-model": train_script, "evaluate-model": evaluate_script}
SHORTER = {"train-model": ["--set", "epochs=2"]}
KEPT = 40
"""Images of a label that are kept."""


def test_images_are_drawn_trained_on_and_measured_as_the_tutorial_shows(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = copy_tree(tmp_path / "clone")
    monkeypatch.chdir(tree)
    steps = read_steps()
    commands = [step.command for step in steps]
    assert commands[: len(INSTALLED)] == INSTALLED
    last = next(at for at, each in enumerate(commands) if each.startswith("export-model"))

    for step in steps[len(INSTALLED) : last]:
        first, *rest = shlex.split(step.command)
        if first in OURS:  # in this process, which has imported torch
            done = command(OURS[first], *rest, *SHORTER.get(first, []))
            assert done.code == 0, done.err
            printed = done.out
        else:
            printed = shell(step.command, tree, environment(tree, port=0))
            thin_out(tree / "images")
        assert step.shown
        assert not unprinted(step.shown, printed, shortened=True), printed


def thin_out(images: Path) -> None:
    for label in images.iterdir():
        for file in sorted(label.iterdir())[KEPT:]:
            file.unlink()


def test_a_line_that_was_not_printed_is_named() -> None:
    printed = "3 images\nloss 0.066, top-1 98.2%\ndone after 30 epochs"

    assert unprinted(["3 images", "loss 0.1, top-1 100.0%", "done ..."], printed) == []
    assert unprinted(["done ...", "3 images"], printed) == ["3 images"]
    assert unprinted(["9 images", "3 pictures", "30 images"], printed) == [
        "3 pictures",
        "30 images",
    ]
    assert unprinted(["30 images"], printed, shortened=True) == []
