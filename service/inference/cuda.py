"""Runs on CUDA: batches of a few fixed sizes, with bound inputs and outputs.

cuDNN chooses its kernels anew for every shape that it has not seen, so a batch is filled
up to a power of two, which was warmed up at the start. Bound outputs are allocated by
onnxruntime beside the run and copied back once. Never run on a GPU: there was none at hand;
the same code gives the CPU provider's answers in the tests.

Source:
    onnxruntime's documentation, "I/O Binding" and "CUDA Execution Provider".
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.preprocessing import Pixels


class Session(Protocol):
    """What is needed of an onnxruntime session with a free batch size."""

    def io_binding(self) -> Any:
        """Begin to say where inputs and outputs lie."""

    def run_with_iobinding(self, binding: Any) -> None:
        """Run, from there to there."""


def bucket(count: int) -> int:
    """Give the size of the batch in which so many pictures run: the next power of two."""
    return 1 << (count - 1).bit_length()


def run_bound(
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
        filled = np.zeros((bucket(count), *images.shape[1:]), images.dtype)
        filled[:count] = images
        binding.bind_cpu_input(name, filled)
    for name in wanted:
        binding.bind_output(name)
    session.run_with_iobinding(binding)
    return [output[:count] for output in binding.copy_outputs_to_cpu()]
