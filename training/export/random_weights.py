"""Seeded random weights, to serve and load-test any member of the family untrained."""

import torch
from torch import Tensor, nn

from model.architecture.spec import Architecture
from model.network.blocks import scale_branches
from model.network.resnet import Normalize, ResNet, build_parts
from model.preprocessing import Preprocessing


def draw(architecture: Architecture, seed: int) -> tuple[Preprocessing, Normalize, ResNet, Tensor]:
    """Build a network with settled norms, its preprocessing, and a few pictures for it.

    The norms' statistics are taken from the pictures: with those of a fresh network each
    block doubles the variance, and 50 blocks overflow the gate.

    Returns:
        Preprocessing, both halves of the network, and uint8 (N, S, S, C).
    """
    torch.manual_seed(seed)
    channels = architecture.in_channels
    preprocessing = preprocessing_for(architecture, (0.5,) * channels, (0.25,) * channels)
    normalize, network = build_parts(architecture, preprocessing)
    pictures = random_pictures(8, preprocessing)
    _settle_norms(network, normalize(pictures))
    return preprocessing, normalize, network, pictures


def preprocessing_for(
    architecture: Architecture, mean: tuple[float, ...], std: tuple[float, ...]
) -> Preprocessing:
    """Cut the square that a network is made for: whole up to 64 pixels, 224 out of 256 above."""
    side = architecture.image_size
    return Preprocessing(
        resize=side if side <= 64 else round(side * 256 / 224),
        crop=side,
        channels=architecture.in_channels,
        mean=mean,
        std=std,
    )


def random_pictures(count: int, preprocessing: Preprocessing) -> Tensor:
    """Draw soft blots, uint8 (N, S, S, C): nearer to pictures than noise, and small as PNG."""
    coarse = torch.rand(count, preprocessing.channels, 4, 4)
    side = preprocessing.crop
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def _settle_norms(network: ResNet, batch: Tensor) -> None:
    """Give random weights the calm of trained ones, from one batch (N, C, S, S).

    Each norm takes its mean and variance from the batch; what ends each branch is
    quartered, for 50 branches at full strength amplify float32's rounding past the gate.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    scale_branches(network, 0.25)
    network.train()
    network(batch)
    network.eval()
