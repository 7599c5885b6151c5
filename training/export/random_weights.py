"""Seeded random weights, to serve and load-test any member of the family untrained."""

import torch
from torch import Tensor, nn

from model.architecture.spec import Architecture
from model.network.blocks import scale_branches
from model.network.resnet import Normalize, ResNet, build_parts
from model.preprocessing import Preprocessing

STATISTICS_IMAGES = 8
"""For the norms' statistics, the gate and the golden answers."""


def build_random(
    architecture: Architecture, seed: int
) -> tuple[Preprocessing, Normalize, ResNet, Tensor]:
    """Build a network with fitted norms, its preprocessing, and a few images for it.

    The norms' statistics are taken from the images: with those of a fresh network each block
    doubles the variance, and 50 blocks overflow the gate.

    Returns:
        Preprocessing, both halves of the network, and uint8 (N, S, S, C).
    """
    torch.manual_seed(seed)
    channels = architecture.in_channels
    preprocessing = preprocessing_for(architecture, (0.5,) * channels, (0.25,) * channels)
    normalize, network = build_parts(architecture, preprocessing)
    images = random_images(STATISTICS_IMAGES, preprocessing)
    _fit_norms(network, normalize(images))
    return preprocessing, normalize, network, images


def preprocessing_for(
    architecture: Architecture, mean: tuple[float, ...], std: tuple[float, ...]
) -> Preprocessing:
    """Crop for a network: the whole image up to 64 pixels, 224 out of 256 above."""
    image_size = architecture.image_size
    return Preprocessing(
        resize=image_size if image_size <= 64 else round(image_size * 256 / 224),
        crop=image_size,
        channels=architecture.in_channels,
        mean=mean,
        std=std,
    )


def random_images(count: int, preprocessing: Preprocessing) -> Tensor:
    """Draw smooth random images, uint8 (N, S, S, C): more natural than noise, and small as PNG."""
    coarse = torch.rand(count, preprocessing.channels, 4, 4)
    size = (preprocessing.crop, preprocessing.crop)
    smooth = nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def _fit_norms(network: ResNet, batch: Tensor) -> None:
    """Bring the activations of random weights to the scale of trained ones.

    Each norm takes mean and variance of one batch (N, C, S, S). The last layer of each branch is
    scaled by a quarter: 50 branches at full strength amplify float32's rounding past the gate.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    scale_branches(network, 0.25)
    network.train()
    network(batch)
    network.eval()
