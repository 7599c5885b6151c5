"""Encode the outputs of an inference request of the Open Inference Protocol V2.

Numbers, or texts where classes are asked for; in JSON, or as binary data. Knows neither models nor
HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.api.v2.codec import InferCall, RequestedOutput
from service.api.v2.schemas import InferResponse, Ran, ResponseTensor
from service.api.v2.tensors import LENGTH


class EncodedResponse(NamedTuple):
    """A response body; `json_bytes` is None if all of it is JSON."""

    body: bytes
    json_bytes: int | None


class EncodedOutput(NamedTuple):
    """An output, and its bytes that follow the JSON."""

    tensor: ResponseTensor
    binary: bytes


def write_response(
    call: InferCall,
    model: tuple[str, str],
    ran: Ran,
    rows: Mapping[str, NDArray[np.float32]],
    labels: Sequence[str],
) -> EncodedResponse:
    """Write the response to a request.

    Args:
        call: The request.
        model: The name in the request, and the version that answered.
        ran: The provider and the precision that computed the rows.
        rows: float32 (N, K) for each output.
        labels: K names.
    """
    encoded = encode_outputs(call.outputs, rows, labels)
    name, version = model
    tensors = [output.tensor for output in encoded]
    response = InferResponse(
        model_name=name, model_version=version, id=call.id, parameters=ran, outputs=tensors
    )
    text = response.model_dump_json(exclude_none=True).encode()
    if not any(output.is_binary for output in call.outputs):
        return EncodedResponse(text, None)
    return EncodedResponse(b"".join([text, *(output.binary for output in encoded)]), len(text))


def encode_outputs(
    outputs: Sequence[RequestedOutput],
    rows: Mapping[str, NDArray[np.float32]],
    labels: Sequence[str],
) -> list[EncodedOutput]:
    """Encode the requested outputs: numbers, or texts where classes are asked for."""
    return [
        write_texts(
            output.name,
            classes(rows[output.name], labels, output.classes),
            is_binary=output.is_binary,
        )
        if output.classes
        else write_numbers(output.name, rows[output.name], is_binary=output.is_binary)
        for output in outputs
    ]


def classes(rows: NDArray[np.float32], labels: Sequence[str], most: int) -> list[list[str]]:
    """List the `most` highest values of each row as `value:index:label`, the highest first.

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


def write_numbers(name: str, values: NDArray[np.float32], *, is_binary: bool) -> EncodedOutput:
    """Encode an output of numbers, float32 of any shape."""
    flat = None if is_binary else values.ravel().tolist()
    return _encoded(name, "FP32", list(values.shape), flat, values.astype("<f4").tobytes())


def write_texts(name: str, rows: list[list[str]], *, is_binary: bool) -> EncodedOutput:
    """Encode an output of texts; all rows have the same length."""
    texts = [text for row in rows for text in row]
    elements = [text.encode() for text in texts]
    binary = b"".join(LENGTH.pack(len(element)) + element for element in elements)
    shape = [len(rows), len(rows[0])]
    return _encoded(name, "BYTES", shape, None if is_binary else texts, binary)


def _encoded(
    name: str, datatype: str, shape: list[int], data: list[Any] | None, binary: bytes
) -> EncodedOutput:
    if data is not None:
        return EncodedOutput(
            ResponseTensor(name=name, datatype=datatype, shape=shape, data=data), b""
        )
    parameters = {"binary_data_size": len(binary)}
    tensor = ResponseTensor(name=name, datatype=datatype, shape=shape, parameters=parameters)
    return EncodedOutput(tensor, binary)
