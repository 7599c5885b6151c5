"""The walk through an ONNX file against the onnx package, which reads all of it."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")

import onnx
from onnx import numpy_helper, parser, save_model

from model.artifact.onnx_file import inspect

TINY = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (uint8[N,4,4,1] images) => (float[N,2] logits, float[N,2] probabilities)
<float[16,2] weight = {WEIGHTS}, int64[2] flat = {0, 16}, float white = {255.0}>
{
  pixels = Cast <to = 1> (images)
  scaled = Div (pixels, white)
  rows = Reshape (scaled, flat)
  logits = MatMul (rows, weight)
  probabilities = Softmax <axis = 1> (logits)
}
""".replace("WEIGHTS", ", ".join(["-0.1, 0.1"] * 16))
BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
branches (bool choose) => (float[4] y)
{
  y = If (choose) <
    then_branch = yes () => (float[4] a) <float[4] deep = {1, 2, 3, 4}> { a = Identity (deep) },
    else_branch = no () => (float[4] b) { b = Constant <value = float[4] {5, 6, 7, 8}> () }
  >
}
"""


def _tensors(graph: Any) -> list[Any]:
    """Every tensor of a graph and of the graphs in its nodes."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t] if attribute.HasField("t") else []
            found += attribute.tensors
            for subgraph in (
                *attribute.graphs,
                *([attribute.g] if attribute.HasField("g") else []),
            ):
                found += _tensors(subgraph)
    return found


def _external(model: Any) -> list[str]:
    """What the onnx package says about each tensor."""
    return [
        tensor.name
        for tensor in _tensors(model.graph)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]


def test_the_tiny_model_of_the_tests_is_what_its_text_says(tiny_onnx: bytes) -> None:
    assert onnx.load_model_from_string(tiny_onnx) == parser.parse_model(TINY)


@pytest.mark.parametrize("text", [TINY, BRANCHES], ids=["flat", "branches"])
def test_no_tensor_is_external_while_the_onnx_package_says_so(text: str) -> None:
    model = parser.parse_model(text)

    assert inspect(model.SerializeToString()).external == _external(model) == []


def test_external_tensors_are_those_that_the_onnx_package_moved_out(tmp_path: Path) -> None:
    model = parser.parse_model(TINY)
    weight, flat, _ = model.graph.initializer
    for tensor in (weight, flat):  # the package moves raw bytes alone
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    save_model(
        model,
        tmp_path / "out.onnx",
        save_as_external_data=True,
        location="out.bin",
        size_threshold=64,
    )

    content = (tmp_path / "out.onnx").read_bytes()
    moved = onnx.load_model(tmp_path / "out.onnx", load_external_data=False)
    assert inspect(content).external == _external(moved) == ["weight"]


def test_each_tensor_of_a_branch_is_found_when_it_is_marked() -> None:
    text = parser.parse_model(BRANCHES)
    for position, tensor in enumerate(_tensors(text.graph)):
        model = parser.parse_model(BRANCHES)
        marked = _tensors(model.graph)[position]
        marked.data_location = onnx.TensorProto.EXTERNAL

        assert inspect(model.SerializeToString()).external == [tensor.name]
