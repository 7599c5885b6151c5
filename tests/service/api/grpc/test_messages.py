"""Messages as Triton's client has them, bounds of what is parsed, and the table of statuses."""

import re
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from service.api.grpc.codec import parse_infer, read_call
from service.api.grpc.messages import MESSAGES
from service.api.grpc.status import CODES
from service.api.v2.tensors import ModelSignature
from service.errors import STATUS, ServiceError
from tests.service.process import ROOT
from tests.service.requests_v2 import FILES, NUMBERS, TENSORS, asking, elements, read

Contents = dict[str, Any]


def fields_of(descriptor: Any) -> dict[str, Any]:
    """Number, type and kind of each field, and the same of the messages within."""
    found: dict[str, Any] = {
        field.name: (
            field.number,
            field.type,
            field.is_repeated,
            field.message_type and field.message_type.full_name,
            field.containing_oneof and field.containing_oneof.name,
        )
        for field in descriptor.fields
    }
    for inner in descriptor.nested_types:
        found[inner.full_name] = fields_of(inner), inner.GetOptions().map_entry
    return found


def test_each_message_has_the_fields_that_tritons_client_has() -> None:
    assert len(MESSAGES) == 18
    for name, kind in MESSAGES.items():
        theirs: Any = service_pb2
        for part in name.split("."):
            theirs = getattr(theirs, part)
        assert fields_of(kind.DESCRIPTOR) == fields_of(theirs.DESCRIPTOR)


def message(
    shape: list[int], datatype: str = "UINT8", raw: bytes | None = None, **contents: Any
) -> Any:
    """Write a request with Triton's classes."""
    request = service_pb2.ModelInferRequest(id="i")
    tensor = request.inputs.add(name="images", datatype=datatype, shape=shape)
    if raw is not None:
        request.raw_input_contents.append(raw)
    for name, values in contents.items():
        getattr(tensor.contents, name).extend(values)
    return request


def call_of(request: Any, signature: ModelSignature = TENSORS) -> Any:
    return read_call(parse_infer(request.SerializeToString(), signature.max_images), signature)


def test_raw_and_typed_tensors_are_read_as_over_rest() -> None:
    expected = read(asking([2, 2, 2, 1], data=NUMBERS))

    raw = call_of(message([2, 2, 2, 1], raw=bytes(NUMBERS)))
    typed = call_of(message([2, 2, 2, 1], uint_contents=NUMBERS))

    assert np.array_equal(raw.images, np.asarray(expected.images))
    assert np.array_equal(typed.images, np.asarray(expected.images))
    assert [each.is_binary for each in raw.outputs] == [True] * 2
    assert [each.is_binary for each in typed.outputs] == [False] * 2


def test_raw_and_typed_files_are_read() -> None:
    contents = [b"one", b"another"]

    raw = call_of(message([2, 1], "BYTES", elements(*contents)), FILES)
    typed = call_of(message([2], "BYTES", bytes_contents=contents), FILES)

    assert raw.images == typed.images == contents


def test_parameters_are_read_whatever_their_type() -> None:
    request = message([1, 2, 2, 1], raw=bytes(4))
    request.parameters["timeout"].int64_param = 2_000_000
    request.parameters["note"].string_param = "ignored"
    request.parameters["nothing"].SetInParent()
    request.outputs.add(name="logits").parameters["classification"].uint64_param = 2

    call = call_of(request)

    assert (call.id, call.timeout_s) == ("i", 2)
    assert [(each.name, each.classes) for each in call.outputs] == [("logits", 2)]


@pytest.mark.parametrize(
    ("request_", "signature", "words"),
    [
        (message([1, 2, 2, 1]), TENSORS, "has neither `data` nor binary data"),
        (message([1, 2, 2, 1], raw=b"123"), TENSORS, r"has 3 bytes; shape \[1, 2, 2, 1\]"),
        (message([1, 2, 2, 1], raw=b"1234", uint_contents=[1]), TENSORS, "has both `contents`"),
        (message([1, 2, 2, 1], uint_contents=[1]), TENSORS, "has 1 elements; shape .* needs 4"),
        (message([1, 2, 2, 1], uint_contents=[256] * 4), TENSORS, "whole numbers from 0 to 255"),
        (message([-1, 2, 2, 1], raw=b"1234"), TENSORS, "inputs.0.shape.0: Input should be"),
        (message([2], "BYTES", bytes_contents=[b"one"]), FILES, "has 1 elements"),
        (message([1], "BYTES", b"\5\0\0\0abc"), FILES, "element 0 of the BYTES tensor"),
        (service_pb2.ModelInferRequest(), TENSORS, "inputs: List should have at least 1 item"),
        (
            service_pb2.ModelInferRequest(
                inputs=message([1, 2, 2, 1]).inputs, raw_input_contents=[b"1234", b""]
            ),
            TENSORS,
            "There are 2 `raw_input_contents` for one input",
        ),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(
    request_: Any, signature: ModelSignature, words: str
) -> None:
    with pytest.raises(ServiceError, match=words):
        call_of(request_, signature)


@pytest.mark.parametrize(
    "content",
    [
        b"\x2a\x00" * 2000,  # inputs
        b"\x2a\xa0\x1f" + b"\x22\x00" * 2000,  # parameters of an input
        b"\x2a\xa3\x1f\x2a\xa0\x1f" + b"\x42\x00" * 2000,  # files in the contents of an input
        b"\x3a\x00" * 2000,  # raw contents
    ],
)
def test_a_message_of_many_fields_is_not_parsed(content: bytes) -> None:
    parsed = service_pb2.ModelInferRequest.FromString(content)
    assert max(len(parsed.inputs), len(parsed.raw_input_contents)) > 0

    with pytest.raises(ServiceError, match="has more than 1,004 fields"):
        parse_infer(content, 4)


@pytest.mark.parametrize(
    "content",
    [b"\x2a", b"\x2a\x05a", b"\x0f", b"\xff" * 11, b"\x2a\x02\x2a\x05", b"\x09\0", b"\x0d\0"],
)
def test_a_broken_message_is_refused(content: bytes) -> None:
    with pytest.raises(ServiceError, match="The message is malformed"):
        parse_infer(content, 4)


def test_every_error_has_a_documented_grpc_status() -> None:
    assert set(CODES) == set(STATUS)
    text = (ROOT / "docs/v2.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|$", text, re.M)

    documented = {code: status for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    statuses = {kind.code: status.name for kind, status in CODES.items()}
    assert statuses.items() <= documented.items()
