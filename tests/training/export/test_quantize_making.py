"""How a cheaper precision is made: its layout, networks without convolutions, ranges."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto

from model.architecture.family import get_architecture
from training.data.dataset import MemorySplit
from training.export import precisions
from training.export.options import Options
from training.export.precisions import chosen_precisions
from training.export.session import ExportSession
from training.export.uncalibrated import export_random


@pytest.mark.parametrize(
    ("name", "channels", "stems", "transpositions"),
    [("mini_resnet", 1, 1, 3), ("resnet18_d2l", 1, 1, 3), ("mini_resnet", 3, 0, 2)],
)
def test_no_layer_of_int8_is_transposed_for_itself(
    name: str, channels: int, stems: int, transpositions: int, tmp_path: Path
) -> None:
    spec = get_architecture(name, in_channels=channels)
    artifact = export_random(spec, tmp_path / name / "1", Options(chosen_precisions(("int8",))))

    settings = ort.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    settings.log_severity_level = 3  # that the file is for this machine alone is known
    ort.InferenceSession(artifact.model("int8"), settings, providers=["CPUExecutionProvider"])

    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert found["Conv"] == stems  # the others are QLinearConv
    assert found["Transpose"] <= transpositions  # of images, of the stem, of the last features


def test_a_network_without_convolutions_is_made_cheaper_too(tmp_path: Path) -> None:
    options = Options(chosen_precisions(("all",)))

    artifact = export_random(get_architecture("residual_mlp"), tmp_path / "mlp" / "1", options)

    sizes = {name: file.bytes for name, file in artifact.manifest.files.items()}
    assert sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["int8"] < 0.3 * sizes["float32"]
    assert artifact.manifest.files["float16"].max_abs_logit_error > 0
    graph = onnx.load_from_string(artifact.model("int8")).graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    *body, head = (node for node in graph.node if node.op_type == "Gemm")
    assert weights[head.input[1]] == TensorProto.FLOAT
    assert not any(weights.get(node.input[1]) == TensorProto.FLOAT for node in body)


def test_ranges_are_taken_from_all_labels(
    tiny_onnx: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorted_by_label = torch.arange(2_000).div(20, rounding_mode="floor").to(torch.uint8)
    seen: list[np.ndarray[Any, Any]] = []

    def note(model: bytes, images: np.ndarray[Any, Any], _: str) -> bytes:
        seen.append(images)
        return model

    monkeypatch.setattr(precisions, "to_int8", note)
    images = sorted_by_label[:, None, None, None].expand(-1, 4, 4, 1)
    split = MemorySplit(images, torch.zeros(2_000))
    float32 = ExportSession(tiny_onnx, {"validation": split})

    variant = precisions.make(float32, "int8", split, "validation", split.targets)

    assert variant.quantization is not None
    assert variant.quantization.pictures == len(seen[0]) == 512
    assert len(np.unique(seen[0])) > 90  # of 100 labels
