"""One session for an exported graph, which answers each split once."""

import pytest

pytest.importorskip("torch")

import torch

from tests.training.export.counting import count_work
from training.data.dataset import MemorySplit
from training.export.session import ExportSession


def test_outputs_are_computed_once_and_without_the_maps(
    tiny_onnx: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = count_work(monkeypatch)
    images = torch.zeros((3, 4, 4, 1), dtype=torch.uint8)
    graph = ExportSession(tiny_onnx, {"test": MemorySplit(images, torch.zeros(3))})

    first, again = graph.outputs("test"), graph.outputs("test")

    assert first is again
    assert "maps" not in first
    assert first["probabilities"].shape == (3, 2)
    assert list(work.runs.values()) == [1]
