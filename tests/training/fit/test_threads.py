"""How many threads a run computes with, and that it keeps the number."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")

import torch

from training.data.dataset import Dataset
from training.fit.setup import fit_architecture
from training.fit.step_time import measure_step_time
from training.fit.threads import computing_threads, fastest, thread_counts
from training.recipe.recipe import Recipe
from training.runs.record import RunRecord


@pytest.mark.parametrize(
    ("seconds", "best"),
    [({1: 0.29, 2: 0.17}, 2), ({1: 0.29, 2: 0.53}, 1), ({1: 0.30, 2: 0.29}, 1), ({4: 1.0}, 4)],
)
def test_more_threads_are_taken_only_where_they_are_clearly_faster(
    seconds: dict[int, float], best: int
) -> None:
    assert fastest(seconds) == best


def test_all_half_and_one_are_tried_unless_the_user_has_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 16)

    chosen = thread_counts()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # our conftest sets it

    assert chosen == [16]
    if not torch.cuda.is_available():
        assert thread_counts() == [16, 8, 1]


def test_a_trial_times_each_number_and_leaves_torch_as_it_was(
    small_fashion: Dataset, small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("training.fit.step_time.thread_counts", lambda: [2, 1])
    dataset = small_fashion.limited(8)
    record = RunRecord.of(dataset, small_recipe, fit_architecture(small_recipe, dataset), seed=0)

    measured = measure_step_time(dataset, record)

    assert measured is not None
    assert sorted(measured.tried) == [1, 2]
    assert measured.threads == fastest(dict(measured.tried))
    assert torch.get_num_threads() == before


def test_threads_are_put_back_after_a_run() -> None:
    before = torch.get_num_threads()

    with computing_threads(before + 1):
        within = torch.get_num_threads()

    assert (within, torch.get_num_threads()) == (before + 1, before)


@pytest.mark.parametrize(
    ("given", "policy"), [({}, "PASSIVE"), ({"GOMP_SPINCOUNT": "100"}, "None")]
)
def test_threads_wait_asleep_unless_the_user_says_otherwise(
    given: dict[str, str], policy: str
) -> None:
    code = "import os, training; print(os.environ.get('OMP_WAIT_POLICY'))"

    run = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == policy
