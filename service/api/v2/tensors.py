"""Tensors of the Open Inference Protocol V2, in JSON and binary: from bytes to arrays.

Sizes that a client declares are not trusted: shapes, products and byte counts are compared as
Python's unbounded integers before NumPy sees them. Knows neither models nor HTTP.
"""

import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np

from model.preprocessing import Pixels
from service.api.json_text import from_base64
from service.api.v2.schemas import RequestTensor
from service.errors import (
    InvalidParameterError,
    MalformedRequestError,
    TooManyImagesError,
    UnsupportedError,
)

DYNAMIC = -1
"""A dimension of any length."""
LENGTH = struct.Struct("<I")
"""The length before each element of a binary BYTES tensor."""
Images = list[bytes] | Pixels
"""Image files, or uint8 (N, S, S, C)."""


class Tensor(NamedTuple):
    """An input or output of a model; dimensions of any length are DYNAMIC."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelSignature(NamedTuple):
    """One input, some outputs, and how many images a request may have.

    `hint` is a sentence that names the model for the artifact's other kind of input.
    """

    model: str
    input: Tensor
    outputs: tuple[Tensor, ...]
    max_images: int
    hint: str = ""

    def expects(self) -> str:
        """Describe the input that the model takes, for error messages."""
        name, datatype, shape = self.input
        return (
            f"Model '{self.model}' takes '{name}' as {datatype} of shape {list(shape)}. "
            f"{self.hint}".rstrip()
        )


def read_raw(body: bytes, signature: ModelSignature) -> Images:
    """Read a whole body as one image: a file, or the bytes of its tensor.

    Raises:
        InvalidParameterError: If the length is not that of a tensor of one image.
    """
    if signature.input.datatype == "BYTES":
        return [body]
    return read_pixels(body, (1, *signature.input.shape[1:]), signature)


def read_images(tensor: RequestTensor, tail: bytes, signature: ModelSignature) -> Images:
    """Read the images of a request's only input.

    Args:
        tensor: As the JSON has it.
        tail: The bytes after the JSON.
        signature: Of the model.

    Raises:
        ServiceError: If the tensor contradicts itself, or does not fit the model.
    """
    check_input(tensor, signature)
    binary = _binary_data(tensor, tail)
    if signature.input.datatype != "BYTES":
        content = _numbers(tensor, prod(tensor.shape)) if binary is None else binary
        return read_pixels(content, tuple(tensor.shape), signature)
    if binary is None:
        return _texts(tensor, tensor.shape[0])
    return _elements(binary, tensor.shape[0])


def check_input(tensor: RequestTensor, signature: ModelSignature) -> None:
    """Compare name, datatype and shape with the model's input.

    Raises:
        InvalidParameterError: If they differ.
        TooManyImagesError: If only the number of images is too large.
    """
    if tensor.name != signature.input.name:
        raise InvalidParameterError(
            f"unexpected inference input '{tensor.name[:100]}' for model '{signature.model}'; "
            f"it takes '{signature.input.name}'. {signature.expects()}"
        )
    check(tensor.datatype, tensor.shape, signature)


def _binary_data(tensor: RequestTensor, tail: bytes) -> bytes | None:
    """Return the binary data of the tensor, which is all of `tail`; None if it has `data`."""
    size = tensor.parameters.get("binary_data_size")
    if "shared_memory_region" in tensor.parameters:
        raise UnsupportedError("Shared memory is not supported. Send the tensor in the request.")
    if tensor.data is not None:
        if size is not None or tail:
            raise MalformedRequestError(
                f"input '{tensor.name}' has both `data` and binary data. Send one of them."
            )
        return None
    if size is None and not tail:
        raise MalformedRequestError(f"input '{tensor.name}' has neither `data` nor binary data.")
    if size is None:
        return tail
    if type(size) is not int or size != len(tail):  # a bool is an int, too
        raise MalformedRequestError(
            f"input '{tensor.name}': `binary_data_size` is {str(size)[:40]} and {len(tail):,} "
            "bytes follow the JSON; unexpected additional input data, or too little of it."
        )
    return tail


def check(datatype: str, shape: Sequence[int], signature: ModelSignature) -> None:
    """Compare datatype and shape with the model's input.

    Raises:
        InvalidParameterError: If they differ.
        TooManyImagesError: If only the number of images is too large.
    """
    name, expected, whole = signature.input
    if datatype != expected:
        raise InvalidParameterError(
            f"inference input '{name}' data-type is '{datatype[:20]}', but model "
            f"'{signature.model}' expects '{expected}'. {signature.expects()}"
        )
    is_row = expected == "BYTES" and len(shape) == 1  # [N] as well as [N, 1]
    if shape[0] < 1 or not (is_row or tuple(shape[1:]) == whole[1:]):
        raise InvalidParameterError(
            f"unexpected shape for input '{name}' for model '{signature.model}'. "
            f"Expected {list(whole)}, got {list(shape)}. {signature.expects()}"
        )
    if shape[0] > signature.max_images:
        raise TooManyImagesError(signature.max_images)


def read_pixels(content: bytes, shape: tuple[int, ...], signature: ModelSignature) -> Pixels:
    """Read the bytes of a UINT8 tensor.

    Raises:
        InvalidParameterError: If there are too few or too many.
    """
    if len(content) != prod(shape):
        raise InvalidParameterError(
            f"input '{signature.input.name}' has {len(content):,} bytes; shape {list(shape)} of "
            f"{signature.input.datatype} needs {prod(shape):,}. {signature.expects()}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)  # (N, S, S, C)


def _flat(tensor: RequestTensor, count: int) -> list[Any]:
    """Flatten nested `data`, level by level."""
    items: list[Any] = tensor.data or []
    while items and set(map(type, items)) == {list}:
        items = list(chain.from_iterable(items))
    check_count(tensor, len(items), count)
    return items


def check_count(tensor: RequestTensor, given: int, count: int) -> None:
    """Check that a tensor has as many elements as its shape needs.

    Raises:
        InvalidParameterError: If it has not.
    """
    if given != count:
        raise InvalidParameterError(
            f"input '{tensor.name}' has {given:,} elements; shape {tensor.shape} needs {count:,}"
        )


def _numbers(tensor: RequestTensor, count: int) -> bytes:
    items = _flat(tensor, count)
    if set(map(type, items)) == {int}:
        with suppress(ValueError):  # some are out of bounds
            return bytes(items)
    raise not_uint8(tensor)


def not_uint8(tensor: RequestTensor) -> InvalidParameterError:
    """Say that a tensor has other numbers than UINT8."""
    return InvalidParameterError(
        f"input '{tensor.name}': `data` must contain whole numbers from 0 to 255 for UINT8."
    )


def _texts(tensor: RequestTensor, count: int) -> list[bytes]:
    items = _flat(tensor, count)
    content_type = tensor.parameters.get("content_type", "base64")
    if content_type != "base64" or set(map(type, items)) != {str}:
        raise InvalidParameterError(
            f"input '{tensor.name}': `data` must contain image files as base64 text "
            "(`content_type` base64), because JSON cannot hold their bytes."
        )
    return [from_base64(text, index) for index, text in enumerate(items)]


def _elements(binary: bytes, count: int) -> list[bytes]:
    """Split a binary BYTES tensor into its elements."""
    elements, begin = [], 0
    for index in range(count):
        head = binary[begin : begin + LENGTH.size]
        end = begin + LENGTH.size + (LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0)
        if len(head) < LENGTH.size or end > len(binary):
            raise MalformedRequestError(
                f"element {index} of the BYTES tensor goes beyond its {len(binary):,} "
                "bytes. Each must be its length as a little-endian uint32, followed "
                "by that many bytes.",
                index=index,
            )
        elements.append(binary[begin + LENGTH.size : end])
        begin = end
    if begin != len(binary):
        raise MalformedRequestError(
            f"unexpected additional input data: {len(binary) - begin:,} bytes after {count} "
            "elements."
        )
    return elements
