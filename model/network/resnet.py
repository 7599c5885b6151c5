"""An `Architecture` as a torch network.

The trainer builds, the exporter traces, the server never sees it. Names of the
parameters follow torchvision (`conv1`, `layer1.0.conv1`, `fc`), those of squeeze-and-
excitation (`layer1.0.se.fc1`) and pre-activation (`stages.0.blocks.0.norm1`, `head.fc`)
timm, so that their checkpoints load with `load_state_dict` unchanged.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.architecture.family import get_architecture
from model.architecture.plan import StemKind
from model.architecture.spec import Architecture
from model.network.blocks import (
    GlobalAveragePool,
    PointwiseLinear,
    build_block,
    build_stem,
    initialize,
)
from model.preprocessing import Preprocessing


class Normalize(nn.Module):
    """Images as they are stored -> what the first convolution reads.

    Args:
        mean: Per channel, in [0, 1].
        std: Per channel, in [0, 1].
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Keep mean and std as buffers, shaped to broadcast over (N, S, S, C)."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (N, S, S, C) -> float32 (N, C, S, S)."""
        x = (images.float() / 255 - self.get_buffer("mean")) / self.get_buffer("std")
        return x.permute(0, 3, 1, 2)


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pool, linear head.

    Pre-activated networks have a norm and a ReLU between the last block and the pool; an
    MLP has no image left to pool.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build and initialise all layers from torch's global random state."""
        super().__init__()
        self.architecture = architecture
        parts = build_stem(architecture)
        depth = sum(architecture.depths)
        stages = [
            nn.Sequential(*(build_block(block, depth) for block in stage.blocks))
            for stage in architecture.stages
        ]
        features, classes = architecture.feature_channels, architecture.num_classes
        if architecture.is_preactivated:
            folders = [nn.Sequential(OrderedDict(blocks=stage)) for stage in stages]
            parts["stages"] = nn.Sequential(*folders)
            parts["norm"] = nn.BatchNorm2d(features)
            parts["relu"] = nn.ReLU()
        else:
            parts.update((f"layer{number}", stage) for number, stage in enumerate(stages, 1))
        self._passes = tuple(parts)
        for name, module in parts.items():
            self.add_module(name, module)
        self.avgpool = nn.Identity() if architecture.block == "linear" else GlobalAveragePool()
        self.dropout = nn.Dropout(architecture.dropout)
        if architecture.is_preactivated:
            self.head = nn.Sequential(OrderedDict(fc=PointwiseLinear(features, classes)))
        else:
            self.fc = nn.Linear(features, classes)
        self.apply(initialize)

    @property
    def classifier(self) -> nn.Linear | PointwiseLinear:
        """The last layer, from features (N, F) to logits (N, K); its weight flattens to (K, F)."""
        layer = self.head.fc if self.architecture.is_preactivated else self.fc
        if not isinstance(layer, nn.Linear | PointwiseLinear):  # pragma: no cover  # for the types
            raise TypeError("the last layer is not linear")
        return layer

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) -> the last feature map (N, F, h, w)."""
        for name in self._passes:
            x = getattr(self, name)(x)
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        """The last feature map (N, F, h, w) -> logits (N, K)."""
        pooled = self.avgpool(features)  # (N, F)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) -> logits (N, K)."""
        return self.forward_head(self.forward_features(x))


def build(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    stem: StemKind | None = None,
) -> ResNet:
    """Build a member of the family by name, fitted to other labels, channels or sizes.

    Raises:
        ValueError: If there is no such member, or a value is out of its range.
    """
    return ResNet(
        get_architecture(name, num_classes=num_classes, in_channels=in_channels, stem=stem)
    )


def build_parts(
    architecture: Architecture, preprocessing: Preprocessing
) -> tuple[Normalize, ResNet]:
    """Build the normalisation and the network: together, stored images -> logits."""
    return Normalize(preprocessing.mean, preprocessing.std), ResNet(architecture)
