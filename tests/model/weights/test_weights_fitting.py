"""Weights of another head, stem or number of channels are fitted, or the network to them."""

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from model.architecture.family import get_architecture
from model.network.resnet import ResNet, build
from model.weights.loading import fit_to_weights, load_weights
from tests.model.published import CHECKPOINTS, TWO, cifar_resnet, timm_resnetv2, torchvision_resnet

# The weights to the network


@pytest.mark.parametrize("head", ["fc", "linear", "classifier"])
def test_a_head_of_any_usual_name_is_found(head: str) -> None:
    state = cifar_resnet(3, head=head)
    network = build("resnet20")

    load_weights(network, (state))

    assert torch.equal(network.get_parameter("fc.bias"), state[f"{head}.bias"])


def test_a_linear_head_fits_a_convolution_and_back() -> None:
    state = timm_resnetv2(TWO, bottleneck=False)
    flat = state | {"head.fc.weight": state["head.fc.weight"].flatten(1)}

    report = load_weights(build("resnetv2_18"), (flat))

    assert report.loaded == report.total


@pytest.mark.parametrize(("name", "first"), [("resnet18", "conv1"), ("resnetv2_18", "stem.conv")])
def test_a_grey_image_gets_the_answer_of_three_equal_channels(name: str, first: str) -> None:
    state = CHECKPOINTS[name][0]()
    grey, colour = build(name, in_channels=1).eval(), build(name).eval()
    image = torch.rand(1, 1, 64, 64)

    report = load_weights(grey, state)

    load_weights(colour, state)
    with torch.no_grad():
        answers = grey(image), colour(image.expand(-1, 3, -1, -1))
    assert torch.allclose(*answers, rtol=1e-4, atol=1e-3)
    assert report.adapted == (f"{first}.weight: 3 input channels summed to one",)


def test_colours_share_the_weights_of_a_grey_network() -> None:
    state = cifar_resnet(3)
    state["conv1.weight"] = state["conv1.weight"].sum(1, keepdim=True)

    report = load_weights(build("resnet20"), (state))

    assert report.adapted == ("conv1.weight: one input channel spread over 3",)


# The network to the weights


def test_the_architecture_is_fitted_to_the_file() -> None:
    spec = get_architecture("resnet20")

    fitted = fit_to_weights(spec, (cifar_resnet(3, projection="shortcut")))

    assert (fitted.shortcuts, fitted.num_classes, fitted.in_channels) == ("projection", 10, 3)
    assert fit_to_weights(spec, (cifar_resnet(3))) == spec


def test_a_resnet18_with_a_small_stem_is_recognised() -> None:
    state = torchvision_resnet(TWO, bottleneck=False)
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)

    fitted = fit_to_weights(get_architecture("resnet18"), state)

    assert (fitted.stem, fitted.image_size) == ("small", 32)
    ResNet(fitted).load_state_dict(state)


def test_an_input_of_four_channels_is_refused() -> None:
    state: dict[str, Tensor] = {"conv1.weight": torch.zeros(64, 4, 7, 7)}

    with pytest.raises(ValueError, match=r"^`in_channels` \(=4\): Input should be 1 or 3\.$"):
        fit_to_weights(get_architecture("resnet18"), state)
