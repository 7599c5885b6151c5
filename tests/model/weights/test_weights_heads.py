"""The head of a checkpoint: found wherever it stands, or its absence said."""

import re

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from model.architecture.family import get_architecture
from model.weights.loading import fit_to_weights, match_weights, without_head
from tests.model.published import TWO, State, cifar_resnet, timm_resnetv2

RESNET20 = get_architecture("resnet20")


def _with_head(**tensors: Tensor) -> State:
    body = {key: value for key, value in cifar_resnet(3).items() if not key.startswith("linear")}
    return body | {name.replace("__", "."): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "head",
    [
        "fc",
        "fc.0",
        "fc.1",
        "fc.3",
        "head.fc",
        "head.1",
        "classifier",
        "classifier.1",
        "linear",
        "last_linear",
        "head",
        "logits",
        "output_layer",
        "cls_head.fc_cls",
        "my_layer",
    ],
)
def test_the_only_linear_layer_behind_the_body_is_the_head(head: str) -> None:
    weight, bias = torch.rand(3, 64), torch.rand(3)
    state = _with_head(**{f"{head}.weight": weight, f"{head}.bias": bias})

    fitted = fit_to_weights(RESNET20, state)
    loaded, report = match_weights(fitted, state)

    assert fitted.num_classes == 3
    assert torch.equal(loaded["fc.weight"], weight)
    assert torch.equal(loaded["fc.bias"], bias)
    assert not report.head_gap
    assert not report.unused
    assert report.loaded == report.total


@pytest.mark.parametrize("head", ["head.fc", "head", "fc.1", "classifier"])
def test_the_head_of_a_preactivated_network_is_found_too(head: str) -> None:
    state = timm_resnetv2(TWO, bottleneck=False)
    for leaf in ("weight", "bias"):
        state[f"{head}.{leaf}"] = state.pop(f"head.fc.{leaf}")

    _, report = match_weights(get_architecture("resnetv2_18"), state)

    assert report.loaded == report.total


def test_a_head_without_a_bias_gets_one_of_zeros() -> None:
    state = _with_head(fc__weight=torch.rand(3, 64))

    loaded, report = match_weights(fit_to_weights(RESNET20, state), state)

    assert not loaded["fc.bias"].any()
    assert report.adapted == ("fc.bias: not in the file, and zero, as in a layer without a bias",)
    assert not report.head_gap


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        (
            {"fc.0.weight": (32, 64), "fc.3.weight": (3, 32)},
            r"several .*\(fc\.0 \(32, 64\), fc\.3 \(3, 32\)\)",
        ),
        ({"fc.0.weight": (64, 64), "fc.3.weight": (3, 64)}, "several"),
        ({"fc.weight": (32, 64), "fc2.weight": (3, 32)}, "several layers"),
        ({"fc1.weight": (32, 64), "fc.weight": (3, 32)}, "several layers"),
        ({"embedding.weight": (32, 64), "classifier.weight": (3, 32)}, "several"),
        ({"fc.0.weight": (64,), "fc.0.bias": (64,), "fc.1.weight": (3, 64)}, "several layers"),
        ({"age.weight": (3, 64), "sex.weight": (2, 64)}, "several linear layers beside the body"),
        ({}, "fc.weight: not in the file"),
        ({"loss.weight": (3, 64)}, "fc.weight: not in the file"),
        ({"fc.weight_g": (3, 1), "fc.weight_v": (3, 64)}, "fc.weight: not in the file"),
    ],
)
def test_a_head_that_is_not_one_linear_layer_is_none_of_ours(
    tensors: dict[str, tuple[int, ...]], fault: str
) -> None:
    state = _with_head(**{key: torch.rand(shape) for key, shape in tensors.items()})

    loaded, report = match_weights(fit_to_weights(RESNET20, state), state)

    assert "fc.weight" not in loaded
    assert re.search(fault, report.head_gap)
    assert not report.gaps


def test_a_second_head_beside_the_exact_one_is_not_taken() -> None:
    state = _with_head(fc__weight=torch.rand(3, 64), fc__bias=torch.rand(3))
    state |= {"domain.weight": torch.rand(2, 64), "domain.bias": torch.rand(2)}

    loaded, report = match_weights(fit_to_weights(RESNET20, state), state)

    assert torch.equal(loaded["fc.weight"], state["fc.weight"])
    assert set(report.unused) == {"domain.weight", "domain.bias"}


def test_layers_that_the_network_lacks_are_told_from_what_only_training_needs() -> None:
    state = cifar_resnet(3)
    state |= {"criterion.weight": torch.rand(10), "loss.centers": torch.rand(10, 64)}
    state |= {"val_accuracy.correct": torch.tensor(3.0), "n_averaged": torch.tensor(3)}

    report = match_weights(RESNET20, state)[1]
    assert not report.beyond + report.beside
    for layer in (
        "bottleneck.weight",
        "attention.conv1.weight",
        "layer1.0.attention.fc.weight",
        "layer1.3.conv1.weight",
    ):
        _, report = match_weights(RESNET20, state | {layer: torch.rand(64)})
        assert report.beyond + report.beside == (layer,)


def test_a_head_is_left_out_where_a_new_one_is_wanted() -> None:
    state = without_head(RESNET20, cifar_resnet(3))

    _, report = match_weights(RESNET20, state)

    assert report.head_gap == "fc.weight: not in the file"
    assert report.loaded == report.total - 2
