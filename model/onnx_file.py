"""What an ONNX file refers to outside itself, read without the onnx package.

An ONNX file may say that a tensor's numbers lie in another file. Readers that follow
such paths have been led out of the model's folder (CVE-2022-25882, CVE-2024-27318 and
their successors), so ours serves one-file models only and asks here first.

The walk knows protobuf's wire format and the handful of messages through which a
tensor can be reached; all other fields are skipped unread.

Source:
    onnx.proto (field numbers); protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

_NESTED: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "function": {7: "node", 11: "attribute"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "node": {5: "attribute"},
        "attribute": {
            5: "tensor",
            6: "graph",
            10: "tensor",
            11: "graph",
            22: "sparse",
            23: "sparse",
        },
        "sparse": {1: "tensor", 2: "tensor"},
        "tensor": {},
    }
)
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 8, 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 100
"""Protobuf's own limit for messages in messages."""


class OnnxFormatError(ValueError):
    """The bytes are not an ONNX file."""


def external_tensors(content: bytes) -> list[str]:
    """Name the tensors whose numbers lie outside the file.

    Raises:
        OnnxFormatError: If the bytes end early or are not protobuf messages.
    """
    names: list[str] = []
    _walk(memoryview(content), "model", names, 0)
    return names


def _walk(message: memoryview, kind: str, names: list[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise OnnxFormatError(f"messages lie in one another more than {_DEEPEST} deep")
    name, is_external = "", False
    for field, value in _fields(message):
        nested = _NESTED[kind].get(field)
        if nested is not None and isinstance(value, memoryview):
            _walk(value, nested, names, depth + 1)
        elif kind == "tensor":
            if field == _TENSOR_NAME and isinstance(value, memoryview):
                name = bytes(value).decode(errors="replace")
            is_external |= field == _TENSOR_EXTERNAL_DATA
            is_external |= field == _TENSOR_DATA_LOCATION and value != 0
    if is_external:
        names.append(name)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield (field number, value); a value is a number or a run of bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag >> 32:  # onnxruntime's parser drops the bits above and sees another field
            raise OnnxFormatError(f"a tag before byte {at} has more than 32 bits")
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            number, at = _varint(message, at)
            yield field, number
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise OnnxFormatError(f"wire type {wire} at byte {at} is none that ONNX uses")
        if at + length > len(message):
            raise OnnxFormatError(f"a field at byte {at} reaches past the end")
        yield field, message[at : at + length]
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
