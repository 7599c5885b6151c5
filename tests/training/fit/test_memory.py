"""Memory that is not enough: one line, before the first step where it can be known."""

import pytest

pytest.importorskip("torch")

from pathlib import Path

import torch

from training.data.dataset import Dataset
from training.errors import TrainingError
from training.fit.memory import activation_bytes, check_memory, is_out_of_memory
from training.fit.module import Classifier
from training.fit.setup import fit_architecture
from training.fit.train import train
from training.recipe.recipe import Recipe
from training.runs.record import RunRecord


@pytest.fixture
def record(small_fashion: Dataset, small_recipe: Recipe) -> RunRecord:
    architecture = fit_architecture(small_recipe, small_fashion)
    return RunRecord.of(small_fashion, small_recipe, architecture, seed=0)


def test_a_step_that_cannot_fit_is_refused_before_it_with_a_batch_that_fits(
    small_fashion: Dataset, record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = activation_bytes(record)
    monkeypatch.setattr("training.fit.memory.free_memory", lambda: 47 * each)

    with pytest.raises(TrainingError, match="--set batch_size=16 fits") as refused:
        check_memory(small_fashion, record)  # 48 images a step

    assert "\n" not in str(refused.value)
    monkeypatch.setattr("training.fit.memory.free_memory", lambda: 49 * each)
    check_memory(small_fashion, record)


def test_what_is_kept_of_an_image_is_at_least_each_convolutions_input(record: RunRecord) -> None:
    inputs = []
    module = Classifier(record)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, given, __: inputs.append(given[0].nbytes))
    module(torch.zeros(1, 14, 14, 1, dtype=torch.uint8).expand(2, -1, -1, -1))

    assert sum(inputs) / 2 <= activation_bytes(record) < 6 * sum(inputs) / 2


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't"),
            True,
        ),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_refused_memory_is_told_from_other_errors(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


def test_memory_that_runs_out_in_a_step_is_one_line(
    small_fashion: Dataset, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)  # torch's own message

    monkeypatch.setattr(Classifier, "training_step", refuse)

    with pytest.raises(
        TrainingError, match=r"^Out of memory during training with batches of 48"
    ) as no:
        train(small_fashion.limited(60), small_recipe, tmp_path / "run")

    assert "\n" not in str(no.value)
    assert "batch_size=" in str(no.value)
