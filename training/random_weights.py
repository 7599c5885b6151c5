"""Seeded random weights, to serve and load-test any member of the family untrained."""

import torch
from torch import Tensor, nn

from model.architecture import Architecture
from model.blocks import BasicBlock, Bottleneck
from model.network import Normalize, ResNet
from model.preprocessing import Preprocessing
from training.module import build_parts


def draw(architecture: Architecture, seed: int) -> tuple[Preprocessing, Normalize, ResNet, Tensor]:
    """Build a network with settled norms, its preprocessing, and a few pictures for it.

    The norms' statistics are taken from the pictures: with those of a fresh network each
    block doubles the variance, and 50 blocks overflow the gate.

    Returns:
        Preprocessing, both halves of the network, and uint8 (N, S, S, C).
    """
    torch.manual_seed(seed)
    channels = architecture.in_channels
    side = 28 if architecture.stem == "small" else 224
    preprocessing = Preprocessing(
        resize=side if architecture.stem == "small" else 256,
        crop=side,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )
    normalize, network = build_parts(architecture, preprocessing)
    pictures = _random_pictures(8, preprocessing)
    _settle_norms(network, normalize(pictures))
    return preprocessing, normalize, network, pictures


def _random_pictures(count: int, preprocessing: Preprocessing) -> Tensor:
    """Draw soft blots, uint8 (N, S, S, C): nearer to pictures than noise, and small as PNG."""
    coarse = torch.rand(count, preprocessing.channels, 4, 4)
    side = preprocessing.crop
    smooth = nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def _settle_norms(network: ResNet, batch: Tensor) -> None:
    """Give random weights the calm of trained ones, from one batch (N, C, S, S).

    Each norm takes its mean and variance from the batch; the last one of each branch is
    quartered, for 50 branches at full strength amplify float32's rounding past the gate.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        elif isinstance(module, BasicBlock | Bottleneck):
            last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
            nn.init.constant_(last.weight, 0.25)
    network.train()
    network(batch)
    network.eval()
