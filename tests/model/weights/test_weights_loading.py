"""Checkpoints from elsewhere: they load whole and answer as their own code does, or say why not."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from model.network.resnet import build
from model.weights.file import WeightsError, read_weights
from model.weights.loading import load_weights
from tests.model.published import CHECKPOINTS, TWO, cifar_resnet, torchvision_resnet


@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
def test_a_published_checkpoint_loads_whole_and_gives_the_same_logits(
    name: str, tmp_path: Path
) -> None:
    write, run, side = CHECKPOINTS[name]
    state = write()
    torch.save(state, tmp_path / "weights.pth")
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    network = build(name).eval()

    report = load_weights(network, read_weights(tmp_path / "weights.pth"))

    assert report.loaded == report.total == len(state)
    assert not report.adapted + report.mismatched + report.missing + report.unused
    with torch.no_grad():
        expected, actual = run(state, images), network(images)
    assert (expected - actual).abs().max() <= 1e-4


@pytest.mark.parametrize("name", ["resnet18", "seresnet18", "resnetv2_18"])
def test_published_names_load_without_any_renaming(name: str) -> None:
    network, published = build(name), CHECKPOINTS[name][0]()

    network.load_state_dict(published, strict=True)

    first = next(iter(published))
    assert next(iter(network.state_dict())) == first
    assert torch.equal(network.state_dict()[first], published[first])


def test_every_key_that_does_not_match_is_listed() -> None:
    state = torchvision_resnet(TWO, bottleneck=False)
    state["aux.weight"] = torch.zeros(3)
    del state["layer1.0.conv1.weight"]
    state["layer2.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)

    report = load_weights(build("resnet18"), state)

    lines = list(report.lines())
    assert "not used: aux.weight" in lines
    assert "left at its initial value: layer1.0.conv1.weight: not in the file" in lines
    assert any("layer2.0.conv1.weight: the file has (1, 2, 3, 3)" in line for line in lines)
    assert lines[0] == f"{len(state) - 2} of {report.total} tensors loaded"


@pytest.mark.parametrize("first", [True, False])
def test_of_two_keys_for_one_tensor_the_exact_name_is_loaded_and_the_other_told(
    first: bool,
) -> None:
    state = cifar_resnet(3)
    state["fc.weight"] = state.pop("linear.weight")
    state["fc.bias"] = state.pop("linear.bias")
    second = {"linear.weight": torch.zeros(10, 64), "module.conv1.weight": torch.zeros(16, 3, 3, 3)}
    network = build("resnet20")

    report = load_weights(network, second | state if first else state | second)

    assert torch.equal(network.get_parameter("fc.weight"), state["fc.weight"])
    assert torch.equal(network.get_parameter("conv1.weight"), state["conv1.weight"])
    assert set(report.doubled) == {
        "linear.weight: fc.weight is fc.weight already",
        "module.conv1.weight: conv1.weight is conv1.weight already",
    }
    assert report.loaded == report.total
    assert "not used: linear.weight: fc.weight is fc.weight already" in list(report.lines())


def test_a_file_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(WeightsError, match="No tensor of the file fits resnet18"):
        load_weights(build("resnet18"), {"encoder.weight": torch.zeros(2)})


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.tensor([1.0, float("nan")]), "conv1.weight holds numbers that are not finite"),
        (torch.ones(2, dtype=torch.int8), r"conv1.weight has integers \(torch.int8\)"),
    ],
)
def test_weights_that_no_training_leaves_are_refused(tensor: Tensor, message: str) -> None:
    state = {"conv1.weight": tensor, "steps": torch.ones(3, dtype=torch.int64)}

    with pytest.raises(WeightsError, match=message):
        load_weights(build("resnet20"), state)
