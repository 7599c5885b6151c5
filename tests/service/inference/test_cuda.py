"""Batches of fixed sizes with bound tensors give what plain runs give; on the CPU provider."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from model.artifact.folder import read
from service.inference import cuda
from service.inference.cuda import count_devices, padded_size, run_with_io_binding
from tests.service.conftest import SHIPPED
from tests.service.images import fashion_images

WANTED = ("logits", "probabilities", "score")


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = read(SHIPPED).model("float32")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("count", "size"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (24, 32), (32, 32), (33, 64)]
)
def test_batches_are_filled_up_to_a_power_of_two(count: int, size: int) -> None:
    assert padded_size(count) == size


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_run_with_io_binding_gives_the_outputs_of_each_image_and_no_other(
    session: ort.InferenceSession, count: int
) -> None:
    images = fashion_images()[0][:count, ..., None]

    bound = run_with_io_binding(session, WANTED, {"images": images})

    plain = session.run(list(WANTED), {"images": images})
    for ours, theirs in zip(bound, plain, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


class Driver:
    """What is called of NVIDIA's driver."""

    def __init__(self, devices: int, error: int = 0) -> None:
        self._devices, self._error = devices, error

    def cuInit(self, _flags: int) -> int:  # noqa: N802  # its name there
        return self._error

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self._devices
        return 0


@pytest.mark.parametrize(
    ("driver", "count"), [(Driver(4), 4), (Driver(0), 0), (Driver(4, error=100), 0)]
)
def test_gpus_are_counted_by_the_driver(
    driver: Driver, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.CDLL", {cuda.DRIVER: driver}.get)

    assert count_devices() == count


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "DRIVER", "libcuda-that-is-not-there.so.1")

    assert count_devices() == 0
