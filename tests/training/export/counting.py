"""Counts of the graphs that an export loads and of the splits that it runs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import Tensor

from training.data.dataset import Split
from training.evaluation import predict
from training.evaluation.predict import onnx_outputs, onnx_session
from training.export import session


@dataclass
class Work:
    """Loads by graph and threads; runs by session and images, which are kept: ids may return."""

    loads: Counter[tuple[bytes, int]] = field(default_factory=Counter)
    runs: Counter[tuple[int, int]] = field(default_factory=Counter)
    kept: list[object] = field(default_factory=list)


def count_work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Count what is loaded and what is computed from now on."""
    found = Work()

    def load(model: bytes, *, threads: int = 0) -> Any:
        found.loads[model, threads] += 1
        found.kept.append(onnx_session(model, threads=threads))
        return found.kept[-1]

    def run(loaded: Any, images: Split | Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        found.runs[id(loaded), id(images)] += 1
        found.kept.append(images)
        return onnx_outputs(loaded, images, names)

    for module in (session, predict):
        monkeypatch.setattr(module, "onnx_session", load)
        monkeypatch.setattr(module, "onnx_outputs", run)
    return found
