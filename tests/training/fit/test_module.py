"""One step of training: its loss, its optimiser, its schedule, its generator."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import nn

from training.data.dataset import Dataset
from training.fit.loop import Outcome
from training.fit.module import Classifier
from training.fit.setup import fit_architecture
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe
from training.runs.metrics import COLUMNS, read_rows
from training.runs.record import RunRecord


def _module(dataset: Dataset, recipe: Recipe, seed: int = 0) -> Classifier:
    """A module in a run of ten epochs of ten steps."""
    torch.manual_seed(seed)
    record = RunRecord.of(dataset, recipe, fit_architecture(recipe, dataset), seed)
    module = Classifier(record)
    trainer = SimpleNamespace(estimated_stepping_batches=100, num_training_batches=10)
    module.trainer = cast("Trainer", trainer)
    return module


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_weight_decay_spares_norms_and_biases(small_fashion: Dataset, name: str) -> None:
    changes = [f"optimizer={name}", "weight_decay=0.1", "schedule=plateau"]
    module = _module(small_fashion, get_recipe("baseline", changes))

    optimizer = module.configure_optimizers()["optimizer"]

    decayed, spared = optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    matrices = {
        id(part.weight)
        for part in module.network.modules()
        if isinstance(part, nn.Conv2d | nn.Linear)
    }
    assert {id(weight) for weight in decayed["params"]} == matrices
    every = {id(weight) for weight in module.network.parameters()}
    assert {id(weight) for weight in spared["params"]} == every - matrices


def test_muon_moves_convolutions_only(small_fashion: Dataset) -> None:
    module = _module(small_fashion, get_recipe("baseline", ["optimizer=muon", "muon_lr=0.2"]))

    groups = module.configure_optimizers()["optimizer"].param_groups

    turned, spared, decayed = groups
    kernels = {id(part.weight) for part in module.modules() if isinstance(part, nn.Conv2d)}
    assert {id(weight) for weight in turned["params"]} == kernels
    assert (turned["lr"], turned["weight_decay"], turned["orthogonal"]) == (0.2, 0.0, True)
    assert decayed["params"] == [module.network.fc.weight]
    assert {decayed["orthogonal"], spared["orthogonal"]} == {False}


def test_a_slower_backbone_leaves_the_head_its_rate(small_fashion: Dataset) -> None:
    changes = ["optimizer=sgd", "schedule=plateau", "backbone_lr_scale=0.1", "learning_rate=0.5"]
    module = _module(small_fashion, get_recipe("baseline", changes))

    groups = module.configure_optimizers()["optimizer"].param_groups

    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    head = {id(weight) for weight in module.network.fc.parameters()}
    assert {rate for weight, rate in rates.items() if weight in head} == {0.5}
    assert {rate for weight, rate in rates.items() if weight not in head} == {0.05}
    assert len(rates) == len(list(module.network.parameters()))


def test_a_frozen_backbone_stays_as_it_came_norms_included(small_fashion: Dataset) -> None:
    recipe = get_recipe("baseline", ["backbone_lr_scale=0", "schedule=plateau", "optimizer=sgd"])
    module = _module(small_fashion, recipe)
    before = {name: value.clone() for name, value in module.network.state_dict().items()}
    optimizer = module.configure_optimizers()["optimizer"]
    module.train()

    module.loss(module(small_fashion.train.images[:8]), small_fashion.train.targets[:8]).backward()
    optimizer.step()

    changed = {
        name
        for name, value in module.network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(("momentum", "nesterov"), [("0.9", True), ("0", False)])
def test_momentum_is_nesterovs(small_fashion: Dataset, momentum: str, nesterov: bool) -> None:
    changes = ["optimizer=sgd", f"momentum={momentum}", "learning_rate=0.3"]
    module = _module(small_fashion, get_recipe("baseline", changes))

    optimizer = module.configure_optimizers()["optimizer"]

    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["nesterov"] is nesterov
    assert optimizer.param_groups[0]["lr"] == 0.3


def test_the_plateau_halves_the_rate_after_three_epochs_without_progress(
    small_fashion: Dataset,
) -> None:
    configured = _module(small_fashion, get_recipe("baseline")).configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    rates = []
    for loss in (1.0, 2.0, 2.0, 2.0, 2.0):
        schedule["scheduler"].step(loss)
        rates.append(optimizer.param_groups[0]["lr"])

    assert rates == [1e-3, 1e-3, 1e-3, 1e-3, 5e-4]
    once_an_epoch = (schedule["interval"], schedule["frequency"], schedule["monitor"])
    assert once_an_epoch == ("step", 10, "val_loss")


def test_smoothing_is_in_the_training_loss(small_fashion: Dataset) -> None:
    module = _module(small_fashion, get_recipe("baseline", ["label_smoothing=0.2"]))
    logits, targets = torch.randn(5, 10), torch.tensor([1, 2, 3, 4, 5])

    loss = module.loss(logits, targets).item()

    logs = logits.log_softmax(1).numpy()
    wanted = np.full((5, 10), 0.02)
    wanted[np.arange(5), targets.numpy()] += 0.8
    assert loss == pytest.approx(-(wanted * logs).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize(("step", "mixes"), [(0, True), (74, True), (75, False), (99, False)])
def test_images_are_mixed_until_the_cooldown(
    small_fashion: Dataset, monkeypatch: pytest.MonkeyPatch, step: int, mixes: bool
) -> None:
    changes = ["mixup=1", "cooldown=0.25", "flip=false", "random_shift=0", "resolution_start=1"]
    module = _module(small_fashion, get_recipe("fast", changes))
    trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=100, world_size=1)
    monkeypatch.setattr(Classifier, "trainer", trainer)
    monkeypatch.setattr(Classifier, "_log", lambda *_: None)
    seen: list[torch.Tensor] = []
    module.normalize.register_forward_pre_hook(lambda _, images: seen.extend(images))
    some = small_fashion.train[:16]

    module.training_step((some.images, some.targets), 0)

    assert torch.equal(seen[0], some.images) is not mixes


def test_forward_normalises_stored_images(small_fashion: Dataset) -> None:
    module = _module(small_fashion, get_recipe("baseline")).eval()
    images = small_fashion.test.images[:3]

    logits = module(images)

    pixels = (images.float() / 255 - 0.2860) / 0.3530
    expected = module.network(pixels.permute(0, 3, 1, 2))
    assert torch.allclose(logits, expected, atol=1e-5)


def test_a_checkpoint_restores_the_random_states(
    small_fashion: Dataset, small_recipe: Recipe
) -> None:
    module = _module(small_fashion, small_recipe)
    checkpoint: dict[str, object] = {}
    module.on_save_checkpoint(checkpoint)
    drawn = torch.rand(3), torch.rand(3, generator=module.augmentation)

    other = _module(small_fashion, small_recipe, seed=9)
    other.on_load_checkpoint(checkpoint)

    assert torch.equal(torch.rand(3), drawn[0])
    assert torch.equal(torch.rand(3, generator=other.augmentation), drawn[1])


def test_the_table_of_epochs_has_the_documented_columns(trained: Outcome) -> None:
    rows = read_rows(trained.folder.metrics)

    assert tuple(rows[0]) == COLUMNS
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_there_are_no_rows_without_a_file(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "metrics.csv") == []


def test_no_way_back_is_kept_through_a_frozen_backbone(small_fashion: Dataset) -> None:
    module = _module(small_fashion, get_recipe("finetune", ["backbone_lr_scale=0"]))
    network = module.network

    some = small_fashion.train[:4]
    loss = nn.functional.cross_entropy(module(some.images), some.targets)
    loss.backward()  # type: ignore[no-untyped-call]

    learning = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert learning == {"fc.weight", "fc.bias"}
