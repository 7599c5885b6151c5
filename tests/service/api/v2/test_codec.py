import json
from typing import Any

import numpy as np
import pytest

from service.api.v2.codec import InferCall, RequestedOutput, read_request
from service.api.v2.outputs import classes, write_response
from service.api.v2.schemas import InferRequest, Ran
from service.api.v2.tensors import DYNAMIC, Tensor
from service.errors import MalformedRequestError
from tests.service.requests_v2 import LABELS, NUMBERS, TENSORS, asking, elements, read


def test_outputs_are_wanted_as_the_request_and_then_each_output_says() -> None:
    content = asking([1, 2, 2, 1], data=NUMBERS[:4])
    content["parameters"] = {"binary_data_output": True, "timeout": 1500}
    content["id"] = "seven"
    content["outputs"] = [
        {"name": "probabilities", "parameters": {"classification": 2, "binary_data": False}},
        {"name": "logits"},
    ]

    call = read(content)

    assert call.outputs == [
        RequestedOutput("probabilities", 2, False),
        RequestedOutput("logits", 0, True),
    ]
    assert call.timeout_s == 0.0015
    assert call.id == "seven"


def test_fields_of_other_clients_and_a_timeout_of_zero_change_nothing() -> None:
    content = asking([1, 2, 2, 1], data=NUMBERS[:4]) | {
        "model_name": "m",
        "parameters": {"timeout": 0, "priority": 1, "sequence_id": 3},
    }

    call = read(content)

    assert call.timeout_s is None
    assert [output.is_binary for output in call.outputs] == [False, False]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("is_flat", [False, True])
def test_numbers_may_be_nested_as_their_shape_says_or_flat(
    channels: int, count: int, is_flat: bool
) -> None:
    signature = TENSORS._replace(input=Tensor("images", "UINT8", (DYNAMIC, 48, 48, channels)))
    pixels = np.random.default_rng(0).integers(0, 256, (count, 48, 48, channels), np.uint8)
    data = (pixels.ravel() if is_flat else pixels).tolist()

    call = read(asking([*pixels.shape], data=data), signature=signature)

    assert np.array_equal(np.asarray(call.images), pixels)


@pytest.mark.parametrize(
    "data",
    [
        b"[[]]," * 1_800,  # fewer than four images have, and more than so few numbers need
        b"[[]]," * 6_000,
        b"[" * 12_000,
        b"[0],[0],[0]," * 6_000,
    ],
    ids=["for few numbers", "for all images", "open ones alone", "one for each number"],
)
def test_more_brackets_than_nesting_needs_are_refused_before_they_are_parsed(data: bytes) -> None:
    signature = TENSORS._replace(input=Tensor("images", "UINT8", (DYNAMIC, 48, 48, 3)))

    with pytest.raises(MalformedRequestError, match=r"opening brackets.*Send `data` flat"):
        read_request(b'{"inputs":[{"data":[' + data, None, signature)


ROWS = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]], np.float32)


def answer(*outputs: RequestedOutput) -> tuple[dict[str, Any], bytes]:
    call = InferCall("7", [], list(outputs), None)
    body, json_bytes = write_response(
        call,
        ("m", "1"),
        Ran(provider="cpu", precision="int8"),
        {"logits": -ROWS, "probabilities": ROWS},
        LABELS,
    )
    end = len(body) if json_bytes is None else json_bytes
    return json.loads(body[:end]), body[end:]


def test_an_answer_in_json_holds_flat_numbers() -> None:
    content, payload = answer(RequestedOutput("probabilities", 0, False))

    assert content == {
        "model_name": "m",
        "model_version": "1",
        "id": "7",
        "parameters": {"provider": "cpu", "precision": "int8"},
        "outputs": [
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 3],
                "data": ROWS.ravel().tolist(),
            }
        ],
    }
    assert payload == b""


def test_an_answer_in_binary_holds_its_bytes_in_the_order_of_the_outputs() -> None:
    content, payload = answer(
        RequestedOutput("logits", 0, True),
        RequestedOutput("probabilities", 1, False),
        RequestedOutput("probabilities", 0, True),
    )

    sizes = [output.get("parameters") for output in content["outputs"]]
    assert sizes == [{"binary_data_size": 24}, None, {"binary_data_size": 24}]
    assert content["outputs"][1]["data"] == ["0.500000:1:dog", "1.000000:0:cat"]
    assert np.array_equal(np.frombuffer(payload, "<f4").reshape(2, 2, 3), [-ROWS, ROWS])


def test_classes_in_binary_carry_their_lengths() -> None:
    content, payload = answer(RequestedOutput("probabilities", 1, True))

    assert content["outputs"][0]["datatype"] == "BYTES"
    assert content["outputs"][0]["shape"] == [2, 1]
    assert payload == elements(b"0.500000:1:dog", b"1.000000:0:cat")


def test_classes_come_highest_first_and_equals_in_the_order_of_the_labels() -> None:
    assert classes(ROWS[:1], LABELS, 99) == [["0.500000:1:dog", "0.250000:0:cat", "0.250000:2:cow"]]


def test_an_id_is_made_where_the_client_gives_none() -> None:
    ids = {read(asking([1, 2, 2, 1], data=[0] * 4)).id for _ in range(3)}

    assert len(ids) == 3
    assert all(ids)


def test_the_schema_that_is_published_accepts_what_is_read() -> None:
    InferRequest.model_validate(asking([1, 2, 2, 1], data=[0] * 4))
