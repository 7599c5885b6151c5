"""Tensors of the Open Inference Protocol V2, in JSON and binary: from bytes to arrays and back.

Nothing that a client says about sizes is believed: shapes, products and byte counts are
compared as Python's unbounded integers before NumPy sees any of them. Knows neither models
nor HTTP.
"""

import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.preprocessing import Pixels
from service.api.json_text import from_base64
from service.api.v2.schemas import RequestTensor, ResponseTensor
from service.errors import (
    InvalidParameterError,
    MalformedRequestError,
    TooManyImagesError,
    UnsupportedError,
)

FREE = -1
"""A dimension of any length."""
LENGTH = struct.Struct("<I")
"""Stands before each element of a binary BYTES tensor."""
Images = list[bytes] | Pixels
"""Picture files, or uint8 (N, S, S, C)."""


class Tensor(NamedTuple):
    """What a model takes or gives: its name, datatype and shape, FREE where any length goes."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Border(NamedTuple):
    """A model as a client sees it: one input, some outputs, and how many pictures at once.

    `beside` names the model that takes the artifact's other kind of input, in a sentence.
    """

    model: str
    input: Tensor
    outputs: tuple[Tensor, ...]
    max_images: int
    beside: str = ""

    def expects(self) -> str:
        """Say what the model takes, and which model takes the other kind."""
        name, datatype, shape = self.input
        return (
            f"Model '{self.model}' takes '{name}' as {datatype} of shape {list(shape)}. "
            f"{self.beside}".rstrip()
        )


class Written(NamedTuple):
    """An output, and the bytes of it that follow the JSON."""

    tensor: ResponseTensor
    blob: bytes


def read_raw(body: bytes, border: Border) -> Images:
    """Take a whole body for one picture: a file, or the bytes of its tensor.

    Raises:
        InvalidParameterError: If it is not as long as a tensor of one picture.
    """
    if border.input.datatype == "BYTES":
        return [body]
    return _pixels(body, (1, *border.input.shape[1:]), border)


def read_images(tensor: RequestTensor, behind: bytes, border: Border) -> Images:
    """Read the pictures of a request's only input.

    Args:
        tensor: As the JSON has it.
        behind: What follows the JSON.
        border: What the model takes.

    Raises:
        ServiceError: If the tensor contradicts itself, or does not fit the model.
    """
    if tensor.name != border.input.name:
        raise InvalidParameterError(
            f"unexpected inference input '{tensor.name[:100]}' for model '{border.model}'; "
            f"it takes '{border.input.name}'. {border.expects()}"
        )
    check(tensor.datatype, tensor.shape, border)
    blob = _blob(tensor, behind)
    if border.input.datatype != "BYTES":
        content = _numbers(tensor, prod(tensor.shape)) if blob is None else blob
        return _pixels(content, tuple(tensor.shape), border)
    if blob is None:
        return _texts(tensor, tensor.shape[0])
    return _elements(blob, tensor.shape[0])


def _blob(tensor: RequestTensor, blob: bytes) -> bytes | None:
    """Give the bytes behind the JSON that are this tensor's; None if it has `data`."""
    size = tensor.parameters.get("binary_data_size")
    if "shared_memory_region" in tensor.parameters:
        raise UnsupportedError("Shared memory is not supported. Send the tensor in the request.")
    if tensor.data is not None:
        if size is not None or blob:
            raise MalformedRequestError(
                f"input '{tensor.name}' has both `data` and binary data. Send one of them."
            )
        return None
    if size is None and not blob:
        raise MalformedRequestError(f"input '{tensor.name}' has neither `data` nor binary data.")
    if size is None:
        return blob
    if type(size) is not int or size != len(blob):  # a bool is an int, too
        raise MalformedRequestError(
            f"input '{tensor.name}': `binary_data_size` is {str(size)[:40]} and {len(blob):,} "
            "bytes follow the JSON; unexpected additional input data, or too little of it."
        )
    return blob


def check(datatype: str, shape: Sequence[int], border: Border) -> None:
    """Compare datatype and shape with what the model takes.

    Raises:
        InvalidParameterError: If they are others.
        TooManyImagesError: If it is more of the same.
    """
    name, expected, whole = border.input
    if datatype != expected:
        raise InvalidParameterError(
            f"inference input '{name}' data-type is '{datatype[:20]}', but model "
            f"'{border.model}' expects '{expected}'. {border.expects()}"
        )
    is_row = expected == "BYTES" and len(shape) == 1  # [N] as well as [N, 1]
    if shape[0] < 1 or not (is_row or tuple(shape[1:]) == whole[1:]):
        raise InvalidParameterError(
            f"unexpected shape for input '{name}' for model '{border.model}'. "
            f"Expected {list(whole)}, got {list(shape)}. {border.expects()}"
        )
    if shape[0] > border.max_images:
        raise TooManyImagesError(border.max_images)


def _pixels(content: bytes, shape: tuple[int, ...], border: Border) -> Pixels:
    if len(content) != prod(shape):
        raise InvalidParameterError(
            f"input '{border.input.name}' has {len(content):,} bytes; shape {list(shape)} of "
            f"{border.input.datatype} needs {prod(shape):,}. {border.expects()}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)  # (N, S, S, C)


def _flat(tensor: RequestTensor, count: int) -> list[Any]:
    """Undo the nesting of `data`, level by level."""
    items: list[Any] = tensor.data or []
    while items and set(map(type, items)) == {list}:
        items = list(chain.from_iterable(items))
    if len(items) != count:
        raise InvalidParameterError(
            f"input '{tensor.name}' has {len(items):,} elements; shape {tensor.shape} needs "
            f"{count:,}"
        )
    return items


def _numbers(tensor: RequestTensor, count: int) -> bytes:
    items = _flat(tensor, count)
    if set(map(type, items)) == {int}:
        with suppress(ValueError):  # some are beyond the bounds
            return bytes(items)
    raise InvalidParameterError(
        f"input '{tensor.name}': `data` must hold whole numbers from 0 to 255 for UINT8."
    )


def _texts(tensor: RequestTensor, count: int) -> list[bytes]:
    items = _flat(tensor, count)
    content_type = tensor.parameters.get("content_type", "base64")
    if content_type != "base64" or set(map(type, items)) != {str}:
        raise InvalidParameterError(
            f"input '{tensor.name}': `data` must hold picture files as text in base64 "
            "(`content_type` base64), since JSON cannot carry their bytes."
        )
    return [from_base64(text, index) for index, text in enumerate(items)]


def _elements(blob: bytes, count: int) -> list[bytes]:
    """Cut a binary BYTES tensor into its elements."""
    elements, begin = [], 0
    for index in range(count):
        head = blob[begin : begin + LENGTH.size]
        end = begin + LENGTH.size + (LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0)
        if len(head) < LENGTH.size or end > len(blob):
            raise MalformedRequestError(
                f"element {index} of the BYTES tensor goes beyond its {len(blob):,} bytes. "
                "Each must be its length as a little-endian uint32, and so many bytes.",
                index=index,
            )
        elements.append(blob[begin + LENGTH.size : end])
        begin = end
    if begin != len(blob):
        raise MalformedRequestError(
            f"unexpected additional input data: {len(blob) - begin:,} bytes after {count} elements."
        )
    return elements


def write_numbers(name: str, values: NDArray[np.float32], *, is_binary: bool) -> Written:
    """Write an output: float32 of any shape -> its place in the JSON, and its bytes."""
    flat = None if is_binary else values.ravel().tolist()
    return _written(name, "FP32", list(values.shape), flat, values.astype("<f4").tobytes())


def write_texts(name: str, rows: list[list[str]], *, is_binary: bool) -> Written:
    """Write an output of texts, all rows of one length."""
    texts = [text for row in rows for text in row]
    elements = [text.encode() for text in texts]
    blob = b"".join(LENGTH.pack(len(element)) + element for element in elements)
    shape = [len(rows), len(rows[0])]
    return _written(name, "BYTES", shape, None if is_binary else texts, blob)


def _written(
    name: str, datatype: str, shape: list[int], data: list[Any] | None, blob: bytes
) -> Written:
    if data is not None:
        return Written(ResponseTensor(name=name, datatype=datatype, shape=shape, data=data), b"")
    parameters = {"binary_data_size": len(blob)}
    tensor = ResponseTensor(name=name, datatype=datatype, shape=shape, parameters=parameters)
    return Written(tensor, blob)
