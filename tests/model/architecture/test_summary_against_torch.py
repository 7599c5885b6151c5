"""The arithmetic of `model.architecture.summary` against the torch network, layer by layer."""

from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from model.architecture.family import ARCHITECTURES
from model.architecture.summary import summarize
from model.network.blocks import GlobalAveragePool
from model.network.resnet import ResNet


class Seen(NamedTuple):
    shape: tuple[int, ...]
    parameters: int
    macs: int


def _macs(module: nn.Module, output: tuple[int, ...]) -> int:
    """Multiply-adds from the module's own attributes and the shape that came out."""
    if isinstance(module, nn.Conv2d):
        window = module.kernel_size[0] * module.kernel_size[1]
        pixels = output[0] * output[1] * output[2]
        return pixels * window * module.in_channels // module.groups
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    return 0


def _run(network: ResNet, height: int, width: int) -> dict[str, list[Seen]]:
    """Send one image through and note what each leaf module gave, call by call."""
    seen: dict[str, list[Seen]] = defaultdict(list)

    def watch(name: str) -> Any:
        def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
            shape = tuple(output.shape[1:])
            numbers = sum(parameter.numel() for parameter in module.parameters())
            seen[name].append(Seen(shape, numbers, _macs(module, shape)))

        return note

    leaves = [(n, module) for n, module in network.named_modules() if not list(module.children())]
    hooks = [module.register_forward_hook(watch(name)) for name, module in leaves]
    with torch.no_grad(), torch.device("meta"):
        network(torch.zeros(1, network.architecture.in_channels, height, width))
    for hook in hooks:
        hook.remove()
    return seen


@cache
def _network(name: str) -> ResNet:
    """Build a member with torch's own shapes, without the numbers."""
    with torch.device("meta"):
        return ResNet(ARCHITECTURES[name]).eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 70)])
@pytest.mark.parametrize(
    "name", [name for name, spec in ARCHITECTURES.items() if spec.stem != "flatten"]
)
def test_every_layer_has_the_shape_parameters_and_macs_of_its_module(
    name: str, height: int, width: int
) -> None:
    network = _network(name)

    seen = _run(network, height, width)

    summary = summarize(ARCHITECTURES[name], height, width)
    expected: dict[str, list[Seen]] = defaultdict(list)
    for layer, _ in summary.layers():
        if layer.kind != "add":  # an operator, not a module
            row = Seen(layer.output_shape, layer.parameters, layer.macs)
            expected[layer.path].append(row)
    if not ARCHITECTURES[name].dropout:  # built, but passes everything
        del seen["dropout"]
    assert seen == expected
    assert summary.parameters == sum(p.numel() for p in network.parameters())


def test_the_pool_of_the_head_is_the_mean_over_the_image() -> None:
    features = torch.rand(2, 5, 3, 4)

    pooled = GlobalAveragePool()(features)

    assert torch.allclose(pooled, nn.AdaptiveAvgPool2d(1)(features).flatten(1))
