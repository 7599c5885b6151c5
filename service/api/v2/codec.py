"""Decode inference requests of the Open Inference Protocol V2.

A request gives the images, the requested outputs and the client's timeout. Knows neither models
nor HTTP.
"""

import re
from collections.abc import Callable
from math import prod
from typing import NamedTuple
from uuid import uuid4

from pydantic import ValidationError

from model.validation import first_fault
from service.api.json_text import as_utf8, read_json
from service.api.v2.schemas import InferRequest, Parameters, RequestTensor
from service.api.v2.tensors import (
    Images,
    ModelSignature,
    check,
    read_images,
    read_raw,
)
from service.errors import InvalidParameterError, MalformedRequestError, UnsupportedError
from service.memory import demand

SPARE_ITEMS = 1000
"""Commas, brackets and strings that a request's JSON may have besides those of its images."""
MAX_TIMEOUT_US = 2**53
DATATYPE = re.compile(rb'"datatype"\s{0,9}+:\s{0,9}+"([^"]{1,20}+)"')
SHAPE = re.compile(rb'"shape"\s{0,9}+:\s{0,9}+\[([\d,\s]{1,200}+)\]')
NUMBER = re.compile(rb"\d+")
OTHER_FORMS = (
    "A plain image file needs the header Inference-Header-Content-Length: 0. Forms "
    'and {"images": [...]} go to /predict.'
)
NUMBER_BYTES, LIST_BYTES = 64, 192
"""Memory that the parser needs for each, at most, besides the text: 48 and 175 were measured."""


class RequestedOutput(NamedTuple):
    """A requested output: its numbers, or its top `classes` as text; in JSON, or as binary data."""

    name: str
    classes: int
    is_binary: bool


class InferCall(NamedTuple):
    """An inference request, read and checked.

    Attributes:
        id: The client's, or a generated one.
        images: Image files, or uint8 (N, S, S, C), as the signature's input says.
        outputs: In the order requested.
        timeout_s: The client's time limit, or None.
    """

    id: str
    images: Images
    outputs: list[RequestedOutput]
    timeout_s: float | None


def read_request(body: bytes, json_bytes: int | None, signature: ModelSignature) -> InferCall:
    """Read an inference request.

    Args:
        body: All of it, uncompressed.
        json_bytes: How many of its bytes are JSON; None for all. 0: the body is the tensor.
        signature: Inputs and outputs of the model.

    Raises:
        ServiceError: If the request breaks the protocol, or does not fit the model.
    """
    if json_bytes == 0:
        outputs = [RequestedOutput(output.name, 0, is_binary=True) for output in signature.outputs]
        return InferCall(str(uuid4()), read_raw(body, signature), outputs, None)
    if json_bytes is not None and json_bytes > len(body):
        raise MalformedRequestError(
            f"Inference-Header-Content-Length is {json_bytes:,} and the body has {len(body):,} "
            "bytes. It must be the length of the JSON before the binary data, uncompressed."
        )
    text, tail = body[:json_bytes], b"" if json_bytes is None else body[json_bytes:]
    request = _parse(text, signature)
    return interpret(request, signature, lambda tensor: read_images(tensor, tail, signature))


def interpret(
    request: InferRequest, signature: ModelSignature, read: Callable[[RequestTensor], Images]
) -> InferCall:
    """Check a request against the model, and read the images of its only input.

    Args:
        request: In the protocol's form.
        signature: Inputs and outputs of the model.
        read: Reads the images of an input.

    Raises:
        ServiceError: If the request does not fit the model.
    """
    if len(request.inputs) != 1:
        raise InvalidParameterError(
            f"expected 1 inputs but got {len(request.inputs)} inputs for model "
            f"'{signature.model}'. {signature.expects()}"
        )
    images = read(request.inputs[0])
    outputs = _requested_outputs(request, signature)
    return InferCall(request.id or str(uuid4()), images, outputs, _timeout_s(request.parameters))


def _parse(text: bytes, signature: ModelSignature) -> InferRequest:
    """Read the JSON, unless it has many more items than the largest request needs."""
    text = as_utf8(text)
    _check_item_counts(text, signature)
    demand(3 * len(text) + NUMBER_BYTES * text.count(b",") + LIST_BYTES * text.count(b"["))
    try:
        return read_json(InferRequest, text)
    except ValidationError as error:
        raise malformed(error, signature, OTHER_FORMS) from error


def malformed(
    error: ValidationError, signature: ModelSignature, hint: str = ""
) -> MalformedRequestError:
    """Say which part of a request breaks the protocol."""
    where, _, rule = first_fault(error)
    return MalformedRequestError(
        f"{where[:100] or 'the body'}: {rule}. Send an inference request of the Open "
        f"Inference Protocol V2. {signature.expects()} {hint}".rstrip()
    )


def _check_item_counts(text: bytes, signature: ModelSignature) -> None:
    """Reject JSON that would need much memory to parse; the message names the likely cause."""
    items = signature.max_images * 2 * prod(signature.input.shape[1:]) + SPARE_ITEMS
    texts = signature.max_images + SPARE_ITEMS
    limits = {b",": items, b"{": texts, b'"': 2 * texts, b"[": _most_brackets(text, signature)}
    seen = {sign: text.count(sign) for sign in limits}
    over = [sign for sign, limit in limits.items() if seen[sign] > limit]
    if not over:
        return
    datatype, shape = DATATYPE.search(text), SHAPE.search(text)
    sides = [int(number) for number in NUMBER.findall(shape[1])] if shape else []
    if datatype and sides:  # most likely a tensor that does not fit the model
        check(datatype[1].decode(errors="replace"), sides, signature)
    what = "opening brackets" if over == [b"["] else "items"
    raise MalformedRequestError(
        f"The JSON has {seen[over[0]]:,} {what}; at most {limits[over[0]]:,} are allowed. "
        f"Send `data` flat, or nested as `shape` says. {signature.expects()}"
    )


def _most_brackets(text: bytes, signature: ModelSignature) -> int:
    """Count the lists that `data` may have, if it is nested like the model's input.

    An empty list takes three bytes of JSON, and over sixty of memory. The commas limit the number
    of images: nested or flat, there is one comma for each number but the last.
    """
    shape = signature.input.shape[1:]  # (S, S, C), or (1,)
    lists = sum(prod(shape[:depth]) for depth in range(len(shape)))  # an image: 1 + S + S * S
    images = min(signature.max_images, text.count(b",") // prod(shape) + 1)
    return images * lists + SPARE_ITEMS


def _requested_outputs(request: InferRequest, signature: ModelSignature) -> list[RequestedOutput]:
    """List the requested outputs; all of them if the request names none."""
    is_binary = _flag(request.parameters, "binary_data_output", default=False)
    names = [output.name for output in signature.outputs]
    if not request.outputs:
        return [RequestedOutput(name, 0, is_binary) for name in names]
    requested = [output.name for output in request.outputs]
    for name in requested:
        if name not in names or requested.count(name) > 1:
            raise InvalidParameterError(
                f"unexpected inference output '{name[:100]}' for model '{signature.model}'; "
                f"each of {', '.join(names)} may be named once"
            )
    if any("shared_memory_region" in output.parameters for output in request.outputs):
        raise UnsupportedError("Shared memory is not supported. Leave its parameters out.")
    return [
        RequestedOutput(
            output.name,
            _whole(output.parameters, "classification", 2**31),
            _flag(output.parameters, "binary_data", default=is_binary),
        )
        for output in request.outputs
    ]


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidParameterError(f"parameter `{name}` must be true or false.")
    return value


def _whole(parameters: Parameters, name: str, most: int) -> int:
    value = parameters.get(name, 0)
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidParameterError(f"parameter `{name}` must be a whole number up to {most:,}.")
    return value


def _timeout_s(parameters: Parameters) -> float | None:
    """Read the client's time limit, in microseconds; 0 means the service's own."""
    return _whole(parameters, "timeout", MAX_TIMEOUT_US) / 1_000_000 or None
