"""Runs on CUDA: batches of a few fixed sizes, with I/O binding.

cuDNN chooses its kernels anew for every shape that it has not seen, so a batch is padded
to a power of two, which was warmed up at the start. Bound outputs are allocated by
onnxruntime on the device and copied back once. Never run on a GPU: there was none at hand;
the tests compare the same code with plain runs on the CPU provider.

Source:
    onnxruntime's documentation, "I/O Binding" and "CUDA Execution Provider".
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.preprocessing import Pixels

DRIVER = "libcuda.so.1"


def count_devices() -> int:
    """Count the GPUs that this process may use, as NVIDIA's driver does; 0 without a driver.

    `CUDA_VISIBLE_DEVICES` and a container's own devices are taken into account. No memory of a GPU
    is taken.

    Source:
        CUDA Driver API, `cuInit` and `cuDeviceGetCount`.
    """
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value


class Session(Protocol):
    """What is needed of an onnxruntime session with a free batch size."""

    def io_binding(self) -> Any:
        """Make a binding, which says where inputs and outputs lie."""

    def run_with_iobinding(self, binding: Any) -> None:
        """Run with the inputs and outputs of a binding."""


def padded_size(count: int) -> int:
    """Give the size of the batch in which so many images run: the next power of two."""
    return 1 << (count - 1).bit_length()


def run_with_io_binding(
    session: Session, wanted: Sequence[str], inputs: Mapping[str, Pixels]
) -> list[NDArray[np.float32]]:
    """Do what `session.run` does, in a batch of a fixed size.

    Args:
        session: Of onnxruntime.
        wanted: Names of outputs.
        inputs: uint8 (N, S, S, C) by name.
    """
    binding = session.io_binding()
    count = 0
    for name, images in inputs.items():
        count = len(images)
        padded = np.zeros((padded_size(count), *images.shape[1:]), images.dtype)
        padded[:count] = images
        binding.bind_cpu_input(name, padded)
    for name in wanted:
        binding.bind_output(name)
    session.run_with_iobinding(binding)
    return [output[:count] for output in binding.copy_outputs_to_cpu()]
