"""Convert a float32 graph to int8 or float16, with the same inputs and outputs.

Only the network's body changes. The layers before it, which turn uint8 into its input, and all
layers from the pooling on (classifier, calibrator, softmax, score, map) stay in float32: they take
almost no time, and rounding there would show in every answer. In int8 the first convolution of grey
images stays in float32 too (docs/decisions/0026).
"""

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

RANGE_ESTIMATORS: dict[str, CalibrationMethod] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
WEIGHTED = ("Conv", "Gemm")
"""Operations with weights; the body starts at the first of them. Gemm: layers of an MLP."""
QUANTIZED = (*WEIGHTED, "Add", "Relu", "MaxPool")
"""Squeeze-and-excitation's sigmoids and products stay in float."""
RANGE_BATCH = 16


class _RangeImages(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Yields the images that find the ranges, in batches."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._batches = iter(
            [images[start : start + RANGE_BATCH] for start in range(0, len(images), RANGE_BATCH)]
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def to_int8(model: bytes, images: NDArray[np.uint8], estimator: str) -> bytes:
    """Quantize the body: static, QDQ, weights int8 per channel, activations uint8.

    Args:
        model: A float32 file of `training.export.onnx_graph`.
        images: Training images, preprocessed, uint8 (N, S, S, C).
        estimator: One of `RANGE_ESTIMATORS`; it finds each tensor's range on the images.
    """
    graph = onnx.load_from_string(model).graph
    head, stem = _after_the_body(graph), _grey_stem(graph)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(model)
        quantize_static(
            source,
            target,
            _RangeImages(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=RANGE_ESTIMATORS[estimator],
            nodes_to_exclude=[*head, *stem],
        )
        quantized = onnx.load(target)
    if stem:
        _transpose_stem_once(quantized.graph, stem[-1])
    return _checked(quantized)


def to_float16(model: bytes) -> bytes:
    """Convert the body to float16; inputs, outputs and the head keep their types."""
    whole = onnx.load_from_string(model)
    graph = whole.graph
    head = {*_before_the_body(graph), *_after_the_body(graph)}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    inside = {name for node in graph.node if node.name not in head for name in node.output}
    nodes: list[Any] = []
    cast: dict[tuple[str, int], str] = {}
    halves: dict[str, Any] = {}

    def as_type(name: str, dtype: int) -> str:
        """Return the name of a tensor in another type; the cast is added on first use."""
        if (name, dtype) not in cast:
            cast[name, dtype] = f"{name}_as_{TensorProto.DataType.Name(dtype).lower()}"
            nodes.append(helper.make_node("Cast", [name], [cast[name, dtype]], to=dtype))
        return cast[name, dtype]

    for node in graph.node:
        is_body = node.name not in head
        for index, name in enumerate(node.input):
            if is_body and name in weights and weights[name].data_type == TensorProto.FLOAT:
                values = numpy_helper.to_array(weights[name]).astype(np.float16)
                halves[name] = numpy_helper.from_array(values, f"{name}_as_float16")
                node.input[index] = halves[name].name
            elif is_body and name and name not in inside and name not in weights:
                node.input[index] = as_type(name, TensorProto.FLOAT16)
            elif not is_body and name in inside:
                node.input[index] = as_type(name, TensorProto.FLOAT)
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    rebuilt = helper.make_graph(
        nodes,
        graph.name,
        graph.input,
        graph.output,
        [*kept, *halves.values()],
        graph.doc_string,
    )
    whole.graph.CopyFrom(rebuilt)
    return _checked(whole)


def _before_the_body(graph: Any) -> list[str]:
    """Name the nodes before the first layer with weights: they convert uint8 to float32."""
    names = []
    for node in graph.node:
        if node.op_type in WEIGHTED:
            break
        names.append(node.name)
    return names


def _after_the_body(graph: Any) -> list[str]:
    """Name the nodes that are not between the images and the pooling."""
    makers = {output: node for node in graph.node for output in node.output}
    pooling = makers["features"]
    body: set[str] = set()
    waiting = [pooling.input[0]]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in body:
            body.add(node.name)
            waiting.extend(node.input)
    return [node.name for node in graph.node if node.name not in body]


def _grey_stem(graph: Any) -> list[str]:
    """Name the layers before the first stage, if they read a single channel."""
    first = next(node for node in graph.node if node.op_type in WEIGHTED)
    weight = next(tensor for tensor in graph.initializer if tensor.name == first.input[1])
    if first.op_type != "Conv" or weight.dims[1] != 1:
        return []
    stem = [first]
    for node in graph.node:
        if node.op_type in ("Relu", "MaxPool") and node.input[0] == stem[-1].output[0]:
            stem.append(node)
    return [node.name for node in stem]


def _transpose_stem_once(graph: Any, last_of_stem: str) -> None:
    """Transpose the stem's output once, instead of around every layer of the first stage.

    int8 layers need channels last, float32 layers channels first. onnxruntime's optimiser removes
    a pair of transpositions only if both inputs of an addition have one. The pair that is added
    here would cancel out without the reshape to the same shape between them.
    """
    given = next(node.output[0] for node in graph.node if node.name == last_of_stem)
    same = numpy_helper.from_array(np.zeros(4, np.int64), "same_shape")  # 0: unchanged
    nodes: list[Any] = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "QuantizeLinear" and node.input[0] == given:
            (quantized,) = node.output
            last, kept, first = (f"{quantized}_{way}" for way in ("last", "kept", "first"))
            nodes += [
                helper.make_node("Transpose", [quantized], [last], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [last, same.name], [kept]),
                helper.make_node("Transpose", [kept], [first], perm=[0, 3, 1, 2]),
            ]
            for user in graph.node:
                if user.op_type == "DequantizeLinear" and user.input[0] == quantized:
                    user.input[0] = first
    rebuilt = helper.make_graph(
        nodes,
        graph.name,
        graph.input,
        graph.output,
        [*graph.initializer, same],
        graph.doc_string,
    )
    graph.CopyFrom(rebuilt)


def _checked(model: Any) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnxruntime's advice, which goes to the root logger and to stdout."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def whole_batches(count: int) -> int:
    """Round down to whole batches: onnxruntime's histograms fail on a shorter one."""
    return count - count % RANGE_BATCH if count > RANGE_BATCH else count


def range_estimators(images: int) -> tuple[str, ...]:
    """Name the range estimators worth trying: histograms need more than a few images."""
    return tuple(RANGE_ESTIMATORS) if images >= 2 * RANGE_BATCH else ("minmax",)
