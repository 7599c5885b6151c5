"""Which GPUs the workers use. The driver and onnxruntime for CUDA are replaced."""

from typing import Any

import pytest

from service.errors import StartError
from service.registry import devices
from service.registry.devices import find_devices
from service.settings import Settings


def of_machine(gpus: int, monkeypatch: pytest.MonkeyPatch, *, for_cuda: bool = True) -> None:
    monkeypatch.setattr(devices, "count_devices", lambda: gpus)
    monkeypatch.setattr(devices, "has_cuda_build", lambda: for_cuda)


@pytest.mark.parametrize(
    ("settings", "gpus", "found"),
    [
        ({}, 4, (0, 1, 2, 3)),
        ({"provider": "cuda"}, 1, (0,)),
        ({"device_ids": (2, 0)}, 4, (2, 0)),
        ({"device_ids": (0, 0)}, 1, (0, 0)),  # two processes on one
        ({"provider": "cpu", "device_ids": (9,)}, 4, ()),
        ({}, 0, ()),
        ({"provider": "cuda", "device_ids": (0,)}, 0, ()),  # the engine says what is missing
    ],
)
def test_workers_use_the_gpus_that_are_set_or_all(
    settings: dict[str, Any], gpus: int, found: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_machine(gpus, monkeypatch)

    assert find_devices(Settings(**settings)) == found


def test_no_gpu_is_counted_by_an_onnxruntime_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    of_machine(4, monkeypatch, for_cuda=False)

    assert find_devices(Settings()) == ()


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    of_machine(2, monkeypatch)

    with pytest.raises(StartError, match="names GPU 2, but this process sees 2") as refused:
        find_devices(Settings(device_ids=(0, 2)))

    assert str(refused.value).isprintable()
