import json
from typing import Any

import numpy as np
import pytest

from service.api.v2.codec import Asked, Wish, classes, read_request, write_response
from service.api.v2.schemas import InferRequest, Ran
from service.api.v2.tensors import FREE, Tensor
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

    asked = read(content)

    assert asked.wishes == [Wish("probabilities", 2, False), Wish("logits", 0, True)]
    assert asked.timeout_s == 0.0015
    assert asked.id == "seven"


def test_fields_of_other_clients_and_a_timeout_of_zero_change_nothing() -> None:
    content = asking([1, 2, 2, 1], data=NUMBERS[:4]) | {
        "model_name": "m",
        "parameters": {"timeout": 0, "priority": 1, "sequence_id": 3},
    }

    asked = read(content)

    assert asked.timeout_s is None
    assert [wish.is_binary for wish in asked.wishes] == [False, False]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("is_flat", [False, True])
def test_numbers_may_be_nested_as_their_shape_says_or_flat(
    channels: int, count: int, is_flat: bool
) -> None:
    border = TENSORS._replace(input=Tensor("images", "UINT8", (FREE, 48, 48, channels)))
    pixels = np.random.default_rng(0).integers(0, 256, (count, 48, 48, channels), np.uint8)
    data = (pixels.ravel() if is_flat else pixels).tolist()

    asked = read(asking([*pixels.shape], data=data), border=border)

    assert np.array_equal(np.asarray(asked.images), pixels)


@pytest.mark.parametrize(
    "data",
    [
        b"[[]]," * 1_800,  # fewer than four pictures have, and more than so few numbers need
        b"[[]]," * 6_000,
        b"[" * 12_000,
        b"[0],[0],[0]," * 6_000,
    ],
    ids=["for few numbers", "for all pictures", "open ones alone", "one for each number"],
)
def test_more_brackets_than_nesting_needs_are_refused_before_they_are_parsed(data: bytes) -> None:
    border = TENSORS._replace(input=Tensor("images", "UINT8", (FREE, 48, 48, 3)))

    with pytest.raises(MalformedRequestError, match=r"opening brackets.*Send `data` flat"):
        read_request(b'{"inputs":[{"data":[' + data, None, border)


ROWS = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]], np.float32)


def answer(*wishes: Wish) -> tuple[dict[str, Any], bytes]:
    asked = Asked("7", [], list(wishes), None)
    body, json_bytes = write_response(
        asked,
        ("m", "1"),
        Ran(provider="cpu", precision="int8"),
        {"logits": -ROWS, "probabilities": ROWS},
        LABELS,
    )
    end = len(body) if json_bytes is None else json_bytes
    return json.loads(body[:end]), body[end:]


def test_an_answer_in_json_holds_flat_numbers() -> None:
    content, blob = answer(Wish("probabilities", 0, False))

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
    assert blob == b""


def test_an_answer_in_binary_holds_its_bytes_in_the_order_of_the_outputs() -> None:
    content, blob = answer(
        Wish("logits", 0, True), Wish("probabilities", 1, False), Wish("probabilities", 0, True)
    )

    sizes = [output.get("parameters") for output in content["outputs"]]
    assert sizes == [{"binary_data_size": 24}, None, {"binary_data_size": 24}]
    assert content["outputs"][1]["data"] == ["0.500000:1:dog", "1.000000:0:cat"]
    assert np.array_equal(np.frombuffer(blob, "<f4").reshape(2, 2, 3), [-ROWS, ROWS])


def test_classes_in_binary_carry_their_lengths() -> None:
    content, blob = answer(Wish("probabilities", 1, True))

    assert content["outputs"][0]["datatype"] == "BYTES"
    assert content["outputs"][0]["shape"] == [2, 1]
    assert blob == elements(b"0.500000:1:dog", b"1.000000:0:cat")


def test_classes_come_highest_first_and_equals_in_the_order_of_the_labels() -> None:
    assert classes(ROWS[:1], LABELS, 99) == [["0.500000:1:dog", "0.250000:0:cat", "0.250000:2:cow"]]


def test_an_id_is_made_where_the_client_gives_none() -> None:
    ids = {read(asking([1, 2, 2, 1], data=[0] * 4)).id for _ in range(3)}

    assert len(ids) == 3
    assert all(ids)


def test_the_schema_that_is_published_accepts_what_is_read() -> None:
    InferRequest.model_validate(asking([1, 2, 2, 1], data=[0] * 4))
