"""One session for each exported graph, which answers each split once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from training.data.dataset import Dataset, MemorySplit, Split
from training.evaluation import predict
from training.evaluation.predict import load_network, onnx_outputs, onnx_session
from training.export import session
from training.export.checkpoint import export_checkpoint
from training.export.options import Options
from training.export.precisions import chosen_precisions
from training.export.session import SPEED_THREADS, ExportSession
from training.fit.loop import Outcome


@dataclass
class Work:
    """Loads by graph and threads; runs by session and images, which are kept: ids may return."""

    loads: Counter[tuple[bytes, int]] = field(default_factory=Counter)
    runs: Counter[tuple[int, int]] = field(default_factory=Counter)
    kept: list[object] = field(default_factory=list)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Count what is loaded and what is computed."""
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


def test_an_export_loads_each_graph_once_and_runs_each_split_once(
    trained: Outcome, small_fashion: Dataset, tmp_path: Path, work: Work
) -> None:
    options = Options(chosen_precisions(("all",)), {"int8": 5.0, "float16": 5.0})

    artifact = export_checkpoint(
        load_network(trained.folder.path), small_fashion, tmp_path / "shoes" / "1", options
    )

    for name in ("float32", "float16"):
        assert work.loads[artifact.model(name), 0] == 1
        assert work.loads[artifact.model(name), SPEED_THREADS] == 1
    assert work.loads[artifact.model("int8"), SPEED_THREADS] == 1
    assert sum(work.loads.values()) == 8  # two each, and the other two range estimators of int8
    assert set(work.runs.values()) == {1}


def test_outputs_are_computed_once_and_without_the_maps(tiny_onnx: bytes, work: Work) -> None:
    images = torch.zeros((3, 4, 4, 1), dtype=torch.uint8)
    graph = ExportSession(tiny_onnx, {"test": MemorySplit(images, torch.zeros(3))})

    first, again = graph.outputs("test"), graph.outputs("test")

    assert first is again
    assert "maps" not in first
    assert first["probabilities"].shape == (3, 2)
    assert list(work.runs.values()) == [1]
