"""What a run left in its folder: its table of epochs, its state, whether two are the same run."""

import csv
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from training.fit.module import Classifier
from training.runs.folder import RunFolder


@contextmanager
def ctrl_c_in(step: int) -> Iterator[None]:
    """Have Ctrl+C pressed within a step of the run, counted from 0: it ends with that step."""
    usual = Classifier.training_step

    def pressed(self: Classifier, *arguments: Any) -> Any:
        if self.global_step == step:
            signal.raise_signal(signal.SIGINT)
        return usual(self, *arguments)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may make us deaf
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Classifier, "training_step", pressed)
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def rows_of(folder: RunFolder) -> list[dict[str, str]]:
    with folder.metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def figures_of(folder: RunFolder) -> list[dict[str, float]]:
    return [{name: float(value) for name, value in row.items()} for row in rows_of(folder)]


def state_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Averaged and current weights, and what the optimiser remembers."""
    content = torch.load(checkpoint, weights_only=True)
    state = {f"averaged {name}": value for name, value in content["state_dict"].items()}
    current = content.get("current_model_state", {})
    state |= {f"current {name}": value for name, value in current.items()}
    state |= {f"generator {name}": value for name, value in content["random"].items()}
    for number, memory in content["optimizer_states"][0]["state"].items():
        state |= {f"memory {number} {name}": value for name, value in memory.items()}
    return state


def assert_same_run(folder: RunFolder, reference: RunFolder) -> None:
    state, expected = state_of(folder.last), state_of(reference.last)
    assert state.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(state[name], expected[name])]
    assert different == []
    clocks = {"seconds", "cpu_seconds"}
    figures = [{k: v for k, v in row.items() if k not in clocks} for row in rows_of(folder)]
    wanted = [{k: v for k, v in row.items() if k not in clocks} for row in rows_of(reference)]
    assert figures == wanted
