"""Checkpoints as others publish them: keys and shapes written down, numbers drawn.

And what those networks compute, in plain functions over the keys: an oracle that shares no
code with ours.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
Forward = Callable[[State, Tensor], Tensor]


class Writer:
    """Collects tensors under their published names."""

    def __init__(self, seed: int = 0) -> None:
        self.state: State = {}
        self.rng = torch.Generator().manual_seed(seed)

    def conv(self, name: str, out: int, into: int, kernel: int, *, bias: bool = False) -> None:
        spread = (2 / (into * kernel * kernel)) ** 0.5
        shape = (out, into, kernel, kernel)
        self.state[f"{name}.weight"] = torch.randn(shape, generator=self.rng) * spread
        if bias:
            self.state[f"{name}.bias"] = torch.randn(out, generator=self.rng) / 10

    def norm(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = torch.rand(channels, generator=self.rng) / 2 + 0.5
        self.state[f"{name}.bias"] = torch.randn(channels, generator=self.rng) / 10
        self.state[f"{name}.running_mean"] = torch.randn(channels, generator=self.rng) / 10
        self.state[f"{name}.running_var"] = torch.rand(channels, generator=self.rng) + 0.5
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def linear(self, name: str, out: int, into: int) -> None:
        self.state[f"{name}.weight"] = torch.randn(out, into, generator=self.rng) / into**0.5
        self.state[f"{name}.bias"] = torch.randn(out, generator=self.rng) / 10


def torchvision_resnet(
    depths: tuple[int, ...], *, bottleneck: bool, squeeze: bool = False
) -> State:
    """torchvision's resnet18 to 152 and timm's, with timm's `se.fc1`, `se.fc2` on request."""
    write = Writer()
    write.conv("conv1", 64, 3, 7)
    write.norm("bn1", 64)
    into, expansion = 64, 4 if bottleneck else 1
    for stage, depth in enumerate(depths, 1):
        width = 32 * 2**stage
        out = width * expansion
        for index in range(depth):
            block = f"layer{stage}.{index}"
            kernels = (1, 3, 1) if bottleneck else (3, 3)
            channels = (into, width, width, out) if bottleneck else (into, width, out)
            for number, kernel in enumerate(kernels, 1):
                write.conv(f"{block}.conv{number}", channels[number], channels[number - 1], kernel)
                write.norm(f"{block}.bn{number}", channels[number])
            if squeeze:
                inner = {64: 8, 128: 8, 256: 16, 512: 32, 1024: 64, 2048: 128}[out]
                write.conv(f"{block}.se.fc1", inner, out, 1, bias=True)
                write.conv(f"{block}.se.fc2", out, inner, 1, bias=True)
            if index == 0 and (stage > 1 or bottleneck):
                write.conv(f"{block}.downsample.0", out, into, 1)
                write.norm(f"{block}.downsample.1", out)
            into = out
    write.linear("fc", 1000, into)
    return write.state


def timm_resnetv2(depths: tuple[int, ...], *, bottleneck: bool) -> State:
    """timm's resnetv2_18 to 101: the head is a 1x1 convolution."""
    write = Writer()
    write.conv("stem.conv", 64, 3, 7)
    into, expansion = 64, 4 if bottleneck else 1
    for stage, depth in enumerate(depths):
        width = 64 * 2**stage
        out = width * expansion
        for index in range(depth):
            block = f"stages.{stage}.blocks.{index}"
            if index == 0 and into != out:
                write.conv(f"{block}.downsample.conv", out, into, 1)
            channels = (into, width, width, out) if bottleneck else (into, width, out)
            kernels = (1, 3, 1) if bottleneck else (3, 3)
            for number, kernel in enumerate(kernels, 1):
                write.norm(f"{block}.norm{number}", channels[number - 1])
                write.conv(f"{block}.conv{number}", channels[number], channels[number - 1], kernel)
            into = out
    write.norm("norm", into)
    write.conv("head.fc", 1000, into, 1, bias=True)
    return write.state


def cifar_resnet(blocks: int, *, head: str = "linear", projection: str | None = None) -> State:
    """The 16-32-64 networks: `linear` and no projections, or `fc` and `downsample`."""
    write = Writer()
    write.conv("conv1", 16, 3, 3)
    write.norm("bn1", 16)
    into = 16
    for stage, width in enumerate((16, 32, 64), 1):
        for index in range(blocks):
            block = f"layer{stage}.{index}"
            for number in (1, 2):
                write.conv(f"{block}.conv{number}", width, into if number == 1 else width, 3)
                write.norm(f"{block}.bn{number}", width)
            if projection and into != width:
                write.conv(f"{block}.{projection}.0", width, into, 1)
                write.norm(f"{block}.{projection}.1", width)
            into = width
    write.linear(head, 10, into)
    return write.state


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, 1e-5)


def _conv(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    padding = weight.shape[-1] // 2
    return functional.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding)


def _blocks(state: State, pattern: str, stage: int) -> list[str]:
    names = [pattern.format(stage, index) for index in range(100)]
    return [name for name in names if f"{name}.conv1.weight" in state]


def _gated(state: State, block: str, x: Tensor) -> Tensor:
    if f"{block}.se.fc1.weight" not in state:
        return x
    squeezed = functional.relu(_conv(state, f"{block}.se.fc1", x.mean((2, 3), keepdim=True)))
    return x * torch.sigmoid(_conv(state, f"{block}.se.fc2", squeezed))


def run_resnet(state: State, x: Tensor) -> Tensor:
    """What torchvision, timm's SE-ResNets and the 16-32-64 networks compute."""
    standard = state["conv1.weight"].shape[-1] == 7
    x = functional.relu(_norm(state, "bn1", _conv(state, "conv1", x, 2 if standard else 1)))
    if standard:
        x = functional.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for index, block in enumerate(_blocks(state, "layer{}.{}", stage)):
            stride = 2 if stage > 1 and index == 0 else 1
            y = x
            bottleneck = f"{block}.conv3.weight" in state
            last = 3 if bottleneck else 2
            for number in range(1, last + 1):
                strided = number == (2 if bottleneck else 1)
                y = _conv(state, f"{block}.conv{number}", y, stride if strided else 1)
                y = _norm(state, f"{block}.bn{number}", y)
                y = functional.relu(y) if number < last else _gated(state, block, y)
            x = functional.relu(y + _shortcut(state, block, x, y.shape[1], stride))
    head = "fc" if "fc.weight" in state else "linear"
    return functional.linear(x.mean((2, 3)), state[f"{head}.weight"], state[f"{head}.bias"])


def _shortcut(state: State, block: str, x: Tensor, channels: int, stride: int) -> Tensor:
    for name in ("downsample", "shortcut"):
        if f"{block}.{name}.0.weight" in state:
            return _norm(state, f"{block}.{name}.1", _conv(state, f"{block}.{name}.0", x, stride))
    if x.shape[1] == channels:
        return x
    half = (channels - x.shape[1]) // 2
    return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))


def run_resnetv2(state: State, x: Tensor) -> Tensor:
    """What timm's pre-activated networks compute."""
    x = functional.max_pool2d(_conv(state, "stem.conv", x, 2), 3, 2, 1)
    for stage in range(4):
        for index, block in enumerate(_blocks(state, "stages.{}.blocks.{}", stage)):
            stride = 2 if stage > 0 and index == 0 else 1
            bottleneck = f"{block}.conv3.weight" in state
            activated = functional.relu(_norm(state, f"{block}.norm1", x))
            if f"{block}.downsample.conv.weight" in state:
                x = _conv(state, f"{block}.downsample.conv", activated, stride)
            y = _conv(state, f"{block}.conv1", activated, 1 if bottleneck else stride)
            for number in (2, 3) if bottleneck else (2,):
                y = functional.relu(_norm(state, f"{block}.norm{number}", y))
                strided = bottleneck and number == 2
                y = _conv(state, f"{block}.conv{number}", y, stride if strided else 1)
            x = y + x
    x = functional.relu(_norm(state, "norm", x)).mean((2, 3), keepdim=True)
    return _conv(state, "head.fc", x).flatten(1)


TWO, FIFTY = (2, 2, 2, 2), (3, 4, 6, 3)
CHECKPOINTS: dict[str, tuple[Callable[[], State], Forward, int]] = {
    "resnet18": (lambda: torchvision_resnet(TWO, bottleneck=False), run_resnet, 64),
    "resnet50": (lambda: torchvision_resnet(FIFTY, bottleneck=True), run_resnet, 64),
    "seresnet18": (lambda: torchvision_resnet(TWO, bottleneck=False, squeeze=True), run_resnet, 64),
    "seresnet50": (
        lambda: torchvision_resnet(FIFTY, bottleneck=True, squeeze=True),
        run_resnet,
        64,
    ),
    "resnetv2_18": (lambda: timm_resnetv2(TWO, bottleneck=False), run_resnetv2, 64),
    "resnetv2_50": (lambda: timm_resnetv2(FIFTY, bottleneck=True), run_resnetv2, 64),
    "resnet20": (lambda: cifar_resnet(3), run_resnet, 32),
    "resnet56": (lambda: cifar_resnet(9), run_resnet, 32),
    "resnet20_b": (lambda: cifar_resnet(3, head="fc", projection="downsample"), run_resnet, 32),
}
