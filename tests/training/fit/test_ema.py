"""The average of a run's weights: young ones forget faster."""

import pytest

pytest.importorskip("torch")

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from training.data.dataset import Dataset, MemorySplit, Split
from training.evaluation.predict import load_network, predict_split
from training.fit.callbacks.ema import MovingAverage, ema_decay_at
from training.fit.train import train
from training.recipe.presets import get_recipe


@pytest.mark.parametrize(
    ("count", "share"), [(1, 2 / 11), (30, 31 / 40), (889, 0.98999), (900, 0.99), (10**6, 0.99)]
)
def test_the_share_that_is_kept_grows_up_to_the_decay(count: int, share: float) -> None:
    assert ema_decay_at(0.99, count) == pytest.approx(share, abs=1e-5)


def test_an_average_is_that_of_the_formula() -> None:
    network = nn.Linear(1, 1, bias=False)
    moving = MovingAverage(0.5)
    average = AveragedModel(network, multi_avg_fn=moving.average)
    expected = 0.0
    for step in range(6):
        nn.init.constant_(network.weight, step**2)
        assert moving.should_update(step_idx=step)
        average.update_parameters(network)
        share = min(0.5, (1 + step) / (10 + step)) if step else 0.0  # the first is copied
        expected = share * expected + (1 - share) * step**2

    (weight,) = average.module.parameters()
    assert weight.item() == pytest.approx(expected)


def test_a_short_run_of_the_default_recipe_keeps_what_it_learnt(
    small_fashion: Dataset, tmp_path: Path
) -> None:
    """Two labels, black and white: thirty steps are enough, and the average must know it."""

    def plain(count: int) -> Split:
        targets = torch.arange(count) % 2
        images = (255 * targets)[:, None, None, None].expand(count, 14, 14, 1).to(torch.uint8)
        return MemorySplit(images.contiguous(), targets)

    dataset = replace(
        small_fashion,
        labels=("black", "white"),
        train=plain(64),
        validation=plain(16),
        test=plain(16),
    )
    recipe = get_recipe("default", ["epochs=30", "architecture=resnet20", "random_erasing=0"])

    outcome = train(dataset, recipe, tmp_path / "run")

    assert outcome.best == 1
    predict = load_network(outcome.folder.last).predict()
    answers = predict_split(predict, dataset.test)
    assert torch.equal(answers.logits.argmax(1), answers.targets)
