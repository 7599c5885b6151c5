"""Checkpoints as others publish them; importable where torch is not installed."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def resnet20(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: wrapped, prefixed, its head called `linear`, its norms without a count."""
    import torch  # noqa: PLC0415  # may be missing

    from tests.model.published import cifar_resnet  # noqa: PLC0415  # needs torch

    path = tmp_path_factory.mktemp("weights") / "resnet20.th"
    whole = {f"module.{key}": tensor for key, tensor in cifar_resnet(3).items()}
    state = {key: whole[key] for key in whole if not key.endswith("num_batches_tracked")}
    torch.save({"state_dict": state, "best_prec1": 91.7}, path)
    return path


@pytest.fixture(scope="session")
def resnet18(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch  # noqa: PLC0415  # may be missing

    from tests.model.published import torchvision_resnet  # noqa: PLC0415  # needs torch

    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision_resnet((2, 2, 2, 2), bottleneck=False), path)
    return path
