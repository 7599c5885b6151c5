"""One exchange of the Open Inference Protocol V2: a body becomes a question, rows an answer.

Which outputs are wanted and how, until when, and what the pictures are; then the answer's
JSON and what follows it. Knows neither models nor HTTP.
"""

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from model.validation import first_fault
from service.api.json_text import as_utf8, read_json
from service.api.v2.schemas import InferRequest, InferResponse, Parameters, Ran
from service.api.v2.tensors import (
    Border,
    Images,
    check,
    read_images,
    read_raw,
    write_numbers,
    write_texts,
)
from service.errors import (
    InvalidParameterError,
    MalformedRequestError,
    UnsupportedError,
)
from service.memory import demand

SPARE_ITEMS = 1000
"""Commas, brackets and texts that a request's JSON may have beside those of its pictures."""
MAX_TIMEOUT_US = 2**53
DATATYPE = re.compile(rb'"datatype"\s{0,9}+:\s{0,9}+"([^"]{1,20}+)"')
SHAPE = re.compile(rb'"shape"\s{0,9}+:\s{0,9}+\[([\d,\s]{1,200}+)\]')
NUMBER = re.compile(rb"\d+")
OTHER_FORMS = (
    "An image file as it is needs the header Inference-Header-Content-Length: 0. Forms and "
    '{"images": [...]} go to /predict.'
)
NUMBER_BYTES, LIST_BYTES = 64, 192
"""What the parser takes for each, at most, beside the text: 48 and 175 were measured."""


class Wish(NamedTuple):
    """An output that is wanted: as numbers, or as so many classes; in JSON, or binary."""

    name: str
    classes: int
    is_binary: bool


class Asked(NamedTuple):
    """An inference request, read and checked.

    Attributes:
        id: The client's, or one of ours.
        images: Picture files, or uint8 (N, S, S, C); which of them the border says.
        wishes: Outputs in the order wanted.
        timeout_s: The client's deadline, or None.
    """

    id: str
    images: Images
    wishes: list[Wish]
    timeout_s: float | None


class Answer(NamedTuple):
    """An answer; `json_bytes` is None if it is JSON throughout."""

    body: bytes
    json_bytes: int | None


def read_request(body: bytes, json_bytes: int | None, border: Border) -> Asked:
    """Read an inference request.

    Args:
        body: All of it, uncompressed.
        json_bytes: How much of it is JSON; None for all. 0 means that the body is the tensor.
        border: What the model takes and gives.

    Raises:
        ServiceError: If the request breaks the protocol, or does not fit the model.
    """
    if json_bytes == 0:
        wishes = [Wish(output.name, 0, is_binary=True) for output in border.outputs]
        return Asked(str(uuid4()), read_raw(body, border), wishes, None)
    if json_bytes is not None and json_bytes > len(body):
        raise MalformedRequestError(
            f"Inference-Header-Content-Length is {json_bytes:,} and the body has {len(body):,} "
            "bytes. It must be the length of the JSON before the binary data, uncompressed."
        )
    text, behind = body[:json_bytes], b"" if json_bytes is None else body[json_bytes:]
    request = _parse(text, border)
    if len(request.inputs) != 1:
        raise InvalidParameterError(
            f"expected 1 inputs but got {len(request.inputs)} inputs for model '{border.model}'. "
            f"{border.expects()}"
        )
    images = read_images(request.inputs[0], behind, border)
    return Asked(
        request.id or str(uuid4()), images, _wishes(request, border), _timeout_s(request.parameters)
    )


def _parse(text: bytes, border: Border) -> InferRequest:
    """Read the JSON, unless it has many more items than the largest request needs."""
    text = as_utf8(text)
    _refuse_flood(text, border)
    demand(3 * len(text) + NUMBER_BYTES * text.count(b",") + LIST_BYTES * text.count(b"["))
    try:
        return read_json(InferRequest, text)
    except ValidationError as error:
        where, _, rule = first_fault(error)
        raise MalformedRequestError(
            f"{where[:100] or 'the body'}: {rule}. Send an inference request of the Open "
            f"Inference Protocol V2. {border.expects()} {OTHER_FORMS}"
        ) from error


def _refuse_flood(text: bytes, border: Border) -> None:
    """Refuse what would take much memory to parse, for the reason that a client needs to know."""
    items = border.max_images * 2 * prod(border.input.shape[1:]) + SPARE_ITEMS
    texts = border.max_images + SPARE_ITEMS
    limits = {b",": items, b"{": texts, b'"': 2 * texts, b"[": _most_brackets(text, border)}
    seen = {sign: text.count(sign) for sign in limits}
    over = [sign for sign, limit in limits.items() if seen[sign] > limit]
    if not over:
        return
    datatype, shape = DATATYPE.search(text), SHAPE.search(text)
    sides = [int(number) for number in NUMBER.findall(shape[1])] if shape else []
    if datatype and sides:  # most likely a tensor that the model does not take
        check(datatype[1].decode(errors="replace"), sides, border)
    what = "opening brackets" if over == [b"["] else "items"
    raise MalformedRequestError(
        f"The JSON has {seen[over[0]]:,} {what}; for so many images there may be "
        f"{limits[over[0]]:,}. Send `data` flat, or nested as `shape` says. {border.expects()}"
    )


def _most_brackets(text: bytes, border: Border) -> int:
    """Give how many lists the numbers may need, nested as the model's input is.

    An empty list takes three bytes of JSON, and over sixty of memory. How many pictures there
    can be the commas tell: nested or flat, there is one for each number but the last.
    """
    shape = border.input.shape[1:]  # (S, S, C), or (1,)
    lists = sum(prod(shape[:depth]) for depth in range(len(shape)))  # a picture: 1 + S + S * S
    images = min(border.max_images, text.count(b",") // prod(shape) + 1)
    return images * lists + SPARE_ITEMS


def _wishes(request: InferRequest, border: Border) -> list[Wish]:
    """List the outputs that are wanted; all of them if none is named."""
    is_binary = _flag(request.parameters, "binary_data_output", default=False)
    names = [output.name for output in border.outputs]
    if not request.outputs:
        return [Wish(name, 0, is_binary) for name in names]
    wanted = [output.name for output in request.outputs]
    for name in wanted:
        if name not in names or wanted.count(name) > 1:
            raise InvalidParameterError(
                f"unexpected inference output '{name[:100]}' for model '{border.model}'; "
                f"each of {', '.join(names)} may be named once"
            )
    if any("shared_memory_region" in output.parameters for output in request.outputs):
        raise UnsupportedError("Shared memory is not supported. Leave its parameters out.")
    return [
        Wish(
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
    """Give the client's deadline, which comes in microseconds; 0 stands for the default."""
    return _whole(parameters, "timeout", MAX_TIMEOUT_US) / 1_000_000 or None


def write_response(
    asked: Asked,
    model: tuple[str, str],
    ran: Ran,
    rows: Mapping[str, NDArray[np.float32]],
    labels: Sequence[str],
) -> Answer:
    """Write the answer to a request.

    Args:
        asked: What was wanted.
        model: The name that was asked, and the version that answered.
        ran: The provider and the precision that gave the rows.
        rows: float32 (N, K) for each output.
        labels: K names.
    """
    written = [
        write_texts(
            wish.name, classes(rows[wish.name], labels, wish.classes), is_binary=wish.is_binary
        )
        if wish.classes
        else write_numbers(wish.name, rows[wish.name], is_binary=wish.is_binary)
        for wish in asked.wishes
    ]
    name, version = model
    tensors = [output.tensor for output in written]
    response = InferResponse(
        model_name=name, model_version=version, id=asked.id, parameters=ran, outputs=tensors
    )
    text = response.model_dump_json(exclude_none=True).encode()
    if not any(wish.is_binary for wish in asked.wishes):
        return Answer(text, None)
    return Answer(b"".join([text, *(output.blob for output in written)]), len(text))


def classes(rows: NDArray[np.float32], labels: Sequence[str], most: int) -> list[list[str]]:
    """Give the `most` highest of each row as `value:index:label`, the highest first.

    Args:
        rows: float32 (N, K).
        labels: K names.
        most: More than K means all.
    """
    order = np.argsort(-rows, axis=1, kind="stable")[:, :most]
    return [
        [f"{row[index]:f}:{index}:{labels[index]}" for index in indices]
        for row, indices in zip(rows.tolist(), order.tolist(), strict=True)
    ]
