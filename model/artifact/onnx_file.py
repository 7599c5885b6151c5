"""What an ONNX file refers to outside itself, and whether it loops, read without the onnx package.

An ONNX file may say that a tensor's numbers are in another file. Readers that follow
such paths have been led out of the model's folder (CVE-2022-25882, CVE-2024-27318 and
their successors), so ours serves one-file models only and asks here first.

Our graphs are straight: no node holds another graph, as `Loop`, `Scan` and `If` do. A loop may
run for ever, and nothing stops it from outside, so such graphs are refused, too.

The walk knows protobuf's wire format and the handful of messages through which a
tensor can be reached; all other fields are skipped unread.

Source:
    onnx.proto (field numbers); protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NESTED: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "function": {7: "node", 11: "attribute"},
        "subgraph": {1: "node", 5: "tensor", 15: "sparse"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "node": {5: "attribute"},
        "attribute": {
            5: "tensor",
            6: "subgraph",
            10: "tensor",
            11: "subgraph",
            22: "sparse",
            23: "sparse",
        },
        "sparse": {1: "tensor", 2: "tensor"},
        "tensor": {},
    }
)
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 8, 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100
"""Protobuf's own limit for messages in messages."""


class OnnxFormatError(ValueError):
    """The bytes are not an ONNX file."""


@dataclass
class Findings:
    """What a file holds that ours never do.

    Attributes:
        external: Names of the tensors whose numbers lie outside the file.
        subgraphs: How many graphs are in nodes.
    """

    external: list[str] = field(default_factory=list)
    subgraphs: int = 0


def inspect(content: bytes) -> Findings:
    """Inspect a whole file.

    Raises:
        OnnxFormatError: If the bytes end early or are not protobuf messages.
    """
    found = Findings()
    _walk(memoryview(content), "model", found, 0)
    return found


def _walk(message: memoryview, kind: str, found: Findings, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise OnnxFormatError(f"messages are nested more than {_MAX_DEPTH} deep")
    found.subgraphs += kind == "subgraph"
    name, is_external = "", False
    for number, value in _fields(message):
        nested = _NESTED[kind].get(number)
        if nested is not None and isinstance(value, memoryview):
            _walk(value, nested, found, depth + 1)
        elif kind == "tensor":
            if number == _TENSOR_NAME and isinstance(value, memoryview):
                name = bytes(value).decode(errors="replace")
            is_external |= number == _TENSOR_EXTERNAL_DATA
            is_external |= number == _TENSOR_DATA_LOCATION and value != 0
    if is_external:
        found.external.append(name)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield (field number, value); a value is a number or a run of bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag >> 32:  # onnxruntime's parser drops the bits above and sees another field
            raise OnnxFormatError(f"a tag before byte {at} has more than 32 bits")
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise OnnxFormatError(f"a field before byte {at} has no number")
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise OnnxFormatError(f"wire type {wire} at byte {at} is none that ONNX uses")
        if at + length > len(message):
            raise OnnxFormatError(f"a field at byte {at} reaches past the end")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a base-128 number; give it and the position behind it."""
    number = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
    raise OnnxFormatError(f"a number at byte {at} does not end")
