"""Checkpoints as others publish them, a disk that is full; importable without torch."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no curves after each epoch, which takes longer than the epoch of such small runs.

    The run that all tests share, `trained`, is made before, with them.
    """
    if "training.fit.callbacks.progress" in sys.modules:
        monkeypatch.setattr("training.fit.callbacks.progress.draw_curves", lambda *_: None)


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """Have the system refuse every file of more bytes, as a full disk does.

    Not for a whole test: pytest's own report may go to a file.
    """
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


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
