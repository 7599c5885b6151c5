"""A minimal writer of ONNX files: enough protobuf to make graphs that misbehave on purpose.

The onnx package is not there where the service runs. Field numbers are onnx.proto's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOAT, UINT8, INT64, DOUBLE = 1, 2, 7, 11
DTYPES = {"float32": FLOAT, "int64": INT64}
Dims = Sequence[int | str]
Constant = NDArray[np.float32] | NDArray[np.int64]


@dataclass(frozen=True)
class Node:
    """One operation; `cast_to` is the only attribute that our graphs need."""

    operation: str
    inputs: Sequence[str]
    output: str
    cast_to: int | None = None


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the graph."""

    name: str
    dtype: int
    dims: Dims


def model(
    nodes: Sequence[Node],
    constants: Mapping[str, Constant],
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    *,
    external: str | None = None,
) -> bytes:
    """Write a whole file; the constant named `external` says that its numbers lie elsewhere."""
    graph = b"".join(_bytes(1, _node(node)) for node in nodes) + _bytes(2, b"graph")
    for name, values in constants.items():
        graph += _bytes(5, _tensor(name, values, is_external=name == external))
    graph += b"".join(_bytes(11, _tensor_info(info)) for info in inputs)
    graph += b"".join(_bytes(12, _tensor_info(info)) for info in outputs)
    operators = _number(2, 17)
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, operators)


def _node(node: Node) -> bytes:
    written = b"".join(_bytes(1, name.encode()) for name in node.inputs)
    written += _bytes(2, node.output.encode()) + _bytes(4, node.operation.encode())
    if node.cast_to is not None:
        attribute = _bytes(1, b"to") + _number(3, node.cast_to) + _number(20, 2)
        written += _bytes(5, attribute)
    return written


def _tensor(name: str, values: Constant, *, is_external: bool) -> bytes:
    written = b"".join(_number(1, size) for size in values.shape)
    written += _number(2, DTYPES[values.dtype.name]) + _bytes(8, name.encode())
    if is_external:
        location = _bytes(1, b"location") + _bytes(2, b"../../etc/passwd")
        return written + _bytes(13, location) + _number(14, 1)
    return written + _bytes(9, values.tobytes())


def _tensor_info(info: TensorInfo) -> bytes:
    dims = b"".join(
        _bytes(1, _number(1, dim) if isinstance(dim, int) else _bytes(2, dim.encode()))
        for dim in info.dims
    )
    tensor = _number(1, info.dtype) + _bytes(2, dims)
    return _bytes(1, info.name.encode()) + _bytes(2, _bytes(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
