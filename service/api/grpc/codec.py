"""Inference requests and responses of the protocol, from protobuf's messages and back.

What a request must be is checked by `service.api.v2.codec`, in the words of the REST endpoint.
"""

from math import prod
from typing import Any

from google.protobuf.message import DecodeError
from pydantic import ValidationError

from service.api.grpc.messages import CHOICE, MESSAGES
from service.api.grpc.wire import check_field_count, not_a_message
from service.api.v2.codec import InferCall, interpret, malformed
from service.api.v2.outputs import EncodedOutput
from service.api.v2.schemas import InferRequest, Parameters, Ran, RequestTensor
from service.api.v2.tensors import (
    Images,
    ModelSignature,
    check_count,
    check_input,
    not_uint8,
    read_images,
    read_pixels,
)
from service.errors import MalformedRequestError

CHUNK = 65_536
"""Numbers that are read at a time: other threads may run in between."""
BINARY_ONLY = frozenset({"binary_data", "binary_data_output", "binary_data_size"})
"""Parameters of the REST protocol that say nothing here."""


def parse(name: str, message: bytes) -> Any:
    """Parse a message of the protocol.

    Raises:
        MalformedRequestError: If it is none.
    """
    try:
        return MESSAGES[name].FromString(message)
    except DecodeError as error:
        raise not_a_message() from error


def parse_infer(message: bytes, max_images: int) -> Any:
    """Parse an inference request, unless it has many more fields than the largest one needs.

    Raises:
        MalformedRequestError: If it has, or is none.
    """
    check_field_count(message, max_images)
    return parse("ModelInferRequest", message)


def read_call(request: Any, signature: ModelSignature) -> InferCall:
    """Read a `ModelInferRequest`. Outputs are raw unless its tensor came in `contents`.

    Raises:
        ServiceError: If it breaks the protocol, or does not fit the model.
    """
    try:
        described = _describe(request)
    except ValidationError as error:
        raise malformed(error, signature) from error
    call = interpret(described, signature, lambda tensor: _read(request, tensor, signature))
    is_raw = bool(request.raw_input_contents)
    return call._replace(outputs=[each._replace(is_binary=is_raw) for each in call.outputs])


def _describe(request: Any) -> InferRequest:
    """Put a request without its tensors into the form of the REST protocol."""
    return InferRequest.model_validate(
        {
            "id": request.id,
            "parameters": _parameters(request.parameters),
            "inputs": [
                {
                    "name": each.name,
                    "datatype": each.datatype,
                    "shape": list(each.shape),
                    "parameters": _parameters(each.parameters),
                }
                for each in request.inputs
            ],
            "outputs": [
                {"name": each.name, "parameters": _parameters(each.parameters)}
                for each in request.outputs
            ],
        }
    )


def _parameters(given: Any) -> Parameters:
    return {
        name: getattr(value, choice)
        for name, value in given.items()
        if name not in BINARY_ONLY and (choice := value.WhichOneof(CHOICE))
    }


def _read(request: Any, tensor: RequestTensor, signature: ModelSignature) -> Images:
    """Read the images of the only input, raw or typed."""
    has_contents, raw = request.inputs[0].HasField("contents"), request.raw_input_contents
    if has_contents and raw:
        raise MalformedRequestError(
            f"input '{tensor.name}' has both `contents` and raw contents. Send one of them."
        )
    if has_contents:
        return _read_contents(request.inputs[0].contents, tensor, signature)
    if len(raw) > 1:
        raise MalformedRequestError(
            f"There are {len(raw)} `raw_input_contents` for one input. Send one per input."
        )
    return read_images(tensor, raw[0] if raw else b"", signature)


def _read_contents(contents: Any, tensor: RequestTensor, signature: ModelSignature) -> Images:
    """Read `bytes_contents`, a file each, or `uint_contents`, row by row."""
    check_input(tensor, signature)
    if signature.input.datatype == "BYTES":
        check_count(tensor, len(contents.bytes_contents), tensor.shape[0])
        return list(contents.bytes_contents)
    values, shape = contents.uint_contents, tuple(tensor.shape)
    check_count(tensor, len(values), prod(shape))
    try:
        parts = [bytes(values[at : at + CHUNK]) for at in range(0, len(values), CHUNK)]
    except ValueError as error:  # one is over 255
        raise not_uint8(tensor) from error
    return read_pixels(b"".join(parts), shape, signature)


def write_response(
    call: InferCall, model: tuple[str, str], ran: Ran, outputs: list[EncodedOutput]
) -> bytes:
    """Write a `ModelInferResponse`.

    Args:
        call: The request.
        model: The name in the request, and the version that answered.
        ran: The provider and the precision that computed the outputs.
        outputs: Encoded as `call.outputs` says.
    """
    name, version = model
    response = MESSAGES["ModelInferResponse"](model_name=name, model_version=version, id=call.id)
    for parameter, value in ran:
        response.parameters[parameter].string_param = value
    for tensor, binary in outputs:
        output = response.outputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
        )
        if tensor.data is None:
            response.raw_output_contents.append(binary)
        elif tensor.datatype == "BYTES":
            output.contents.bytes_contents.extend(text.encode() for text in tensor.data)
        else:
            output.contents.fp32_contents.extend(tensor.data)
    message: bytes = response.SerializeToString()
    return message
