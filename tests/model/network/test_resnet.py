"""The network: torchvision's names, shapes, modes, and the input's normalisation."""

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from torch import nn

from model.network.resnet import Normalize, ResNet, build

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _block_keys(block: str, convolutions: int, *, downsample: bool) -> list[str]:
    """Torchvision's rule: convI.weight, then bnI.*, then downsample.0.weight, downsample.1.*."""
    keys = []
    for number in range(1, convolutions + 1):
        keys += [f"{block}.conv{number}.weight"]
        keys += [f"{block}.bn{number}.{name}" for name in NORM]
    if downsample:
        keys += [f"{block}.downsample.0.weight"]
        keys += [f"{block}.downsample.1.{name}" for name in NORM]
    return keys


@pytest.mark.parametrize(
    ("name", "depths", "convolutions", "projected"),
    [
        ("resnet18", (2, 2, 2, 2), 2, (2, 3, 4)),
        ("resnet50", (3, 4, 6, 3), 3, (1, 2, 3, 4)),
    ],
)
def test_weights_have_torchvisions_names_in_torchvisions_order(
    name: str, depths: tuple[int, ...], convolutions: int, projected: tuple[int, ...]
) -> None:
    expected = ["conv1.weight", *(f"bn1.{part}" for part in NORM)]
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            downsample = block == 0 and stage in projected
            expected += _block_keys(f"layer{stage}.{block}", convolutions, downsample=downsample)
    expected += ["fc.weight", "fc.bias"]

    network = build(name)

    assert list(network.state_dict()) == expected


def test_weights_of_resnet50_have_torchvisions_shapes() -> None:
    shapes = {name: tuple(weight.shape) for name, weight in build("resnet50").state_dict().items()}

    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer1.0.conv1.weight"] == (64, 64, 1, 1)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer2.0.conv1.weight"] == (128, 256, 1, 1)
    assert shapes["layer4.2.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["layer4.2.conv3.weight"] == (2048, 512, 1, 1)
    assert shapes["fc.weight"] == (1000, 2048)


@pytest.mark.parametrize(
    ("name", "features"), [("mini_resnet", (128, 7, 7)), ("resnet18", (512, 1, 1))]
)
def test_features_and_logits_have_the_documented_shapes(
    name: str, features: tuple[int, ...]
) -> None:
    network = build(name, num_classes=7, in_channels=1).eval()
    images = torch.rand(2, 1, 28, 28)

    assert network.forward_features(images).shape == (2, *features)
    assert network(images).shape == (2, 7)


def test_forward_is_the_head_over_the_features() -> None:
    network = build("mini_resnet").eval()
    images = torch.rand(2, 1, 28, 28)

    logits = network(images)

    pooled = network.forward_features(images).flatten(2).mean(2)
    assert torch.allclose(logits, pooled @ network.fc.weight.T + network.fc.bias, atol=1e-6)


def test_build_repeats_under_one_seed_and_differs_under_another() -> None:
    def first_weights(seed: int) -> list[float]:
        torch.manual_seed(seed)
        weights: list[float] = build("mini_resnet").state_dict()["conv1.weight"].flatten().tolist()
        return weights

    assert first_weights(1) == first_weights(1)
    assert first_weights(1) != first_weights(2)


def test_build_refuses_an_unknown_member() -> None:
    with pytest.raises(ValueError, match="Did you mean 'resnet18'"):
        build("resnet81")


def test_every_convolution_is_drawn_with_the_spread_of_its_fan_out() -> None:
    torch.manual_seed(0)
    network = build("resnet18")

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name


def test_dropout_falls_only_in_training_mode() -> None:
    torch.manual_seed(0)
    network = build("mini_resnet")
    features = torch.rand(4, 128, 7, 7)

    network.train()
    while_training = [network.forward_head(features) for _ in range(2)]
    network.eval()
    while_serving = [network.forward_head(features) for _ in range(2)]

    assert not torch.equal(*while_training)
    assert torch.equal(*while_serving)


def test_an_image_gets_the_same_logits_in_any_batch_in_evaluation_mode() -> None:
    network: ResNet = build("mini_resnet").eval()
    images = torch.rand(5, 1, 28, 28)

    together = network(images)

    one_by_one = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, one_by_one, atol=1e-5)


def test_normalize_does_what_numpy_does_with_mean_and_std_per_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    mean, std = (0.1, 0.4, 0.7), (0.2, 0.3, 0.5)

    normalized = Normalize(mean, std)(torch.from_numpy(images))

    expected = ((images / 255 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    assert normalized.dtype == torch.float32
    np.testing.assert_allclose(normalized.numpy(), expected, atol=1e-5)
