"""One onnxruntime session for each exported graph, and its outputs for each split."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import onnxruntime as ort
from torch import Tensor

from training.data.dataset import Split
from training.evaluation.predict import onnx_outputs, onnx_session

UNUSED = "maps"
"""An output that no figure of a split needs; it is as large as the images."""

SPEED_THREADS = 1
"""The speed of one core is measured: how cores are shared out is decided where the model runs."""


class ExportSession:
    """A graph under export: its session, and its outputs for each split, computed once.

    Args:
        model: The ONNX file.
        splits: By name.
    """

    def __init__(self, model: bytes, splits: Mapping[str, Split]) -> None:
        self.model = model
        self._splits = splits
        self._session = onnx_session(model)
        self._outputs: dict[str, dict[str, Tensor]] = {}

    def variant(self, model: bytes) -> Self:
        """Load another graph for the same images."""
        return type(self)(model, self._splits)

    def outputs(self, split: str) -> dict[str, Tensor]:
        """Return the outputs for a split, by name; the activation maps are left out."""
        if split not in self._outputs:
            names = [output.name for output in self._session.get_outputs()]
            wanted = [name for name in names if name != UNUSED]
            self._outputs[split] = self.run(self._splits[split], wanted)
        return self._outputs[split]

    def run(self, images: Split | Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Compute some outputs for other images, uint8 (N, S, S, C)."""
        return onnx_outputs(self._session, images, names)

    @cached_property
    def for_speed(self) -> ort.InferenceSession:
        """A session of its own for measurements of speed, with `SPEED_THREADS` threads."""
        return onnx_session(self.model, threads=SPEED_THREADS)
