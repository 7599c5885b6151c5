"""Ctrl+C during a run: it ends between two steps, a second one at once."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from training.data.dataset import Dataset
from training.fit.module import Classifier
from training.fit.train import train
from training.recipe.recipe import Recipe

STEPS = 10
"""Of an epoch of the small recipe."""


@pytest.fixture(autouse=True)
def hearing() -> Iterator[None]:
    """Hear Ctrl+C, also where a shell has started the tests deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


Press = Callable[[int, int], tuple[list[int], list[int]]]


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch) -> Press:
    """Press Ctrl+C within a step, so many times; list the steps that began and that ended."""

    def press_in(number: int, times: int) -> tuple[list[int], list[int]]:
        step = Classifier.training_step
        begun: list[int] = []
        ended: list[int] = []

        def pressed(self: Classifier, *arguments: Any) -> Any:
            begun.append(self.global_step)
            if len(begun) == number:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            loss = step(self, *arguments)
            ended.append(self.global_step)
            return loss

        monkeypatch.setattr(Classifier, "training_step", pressed)
        return begun, ended

    return press_in


def test_the_step_in_which_ctrl_c_comes_is_finished(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, press: Press
) -> None:
    heard_by = signal.getsignal(signal.SIGINT)
    begun, ended = press(STEPS + 3, 1)

    outcome = train(small_fashion, small_recipe, tmp_path / "run")

    assert (len(begun), len(ended)) == (STEPS + 3, STEPS + 3)
    assert (outcome.interrupted, outcome.folder.best.exists()) == (True, True)
    assert signal.getsignal(signal.SIGINT) == heard_by


def test_a_second_ctrl_c_does_not_wait_for_the_step(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, press: Press
) -> None:
    begun, ended = press(STEPS + 3, 2)

    outcome = train(small_fashion, small_recipe, tmp_path / "run")

    assert (len(begun), len(ended)) == (STEPS + 3, STEPS + 2)
    assert outcome.interrupted


def test_validation_is_left_between_two_batches(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = Classifier.validation_step, []

    def pressed(self: Classifier, *arguments: Any) -> None:
        step(self, *arguments)
        seen.append(self.current_epoch)
        if self.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)
        seen.append(self.current_epoch)

    monkeypatch.setattr(Classifier, "validation_step", pressed)

    outcome = train(small_fashion, small_recipe, tmp_path / "run")

    assert outcome.interrupted
    assert seen.count(1) == 2


def test_where_ctrl_c_is_ignored_it_stays_ignored(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, press: Press
) -> None:
    press(3, 1)
    recipe = small_recipe.model_copy(update={"epochs": 1})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a shell's background jobs
    try:
        outcome = train(small_fashion, recipe, tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)

    assert (outcome.interrupted, outcome.epochs) == (False, 1)
