import base64
import json
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.v2.codec import RequestedOutput, read_request
from service.errors import (
    InvalidParameterError,
    MalformedRequestError,
    ServiceError,
    TooManyImagesError,
    UnsupportedError,
)
from tests.service.requests_v2 import FILES, NUMBERS, TENSORS, asking, binary, elements, read


@pytest.mark.parametrize("data", [NUMBERS, [[[[0], [1]], [[2], [3]]], [[[4], [5]], [[6], [7]]]]])
def test_a_tensor_in_json_is_read_flat_or_nested(data: list[Any]) -> None:
    images = read(asking([2, 2, 2, 1], data=data)).images

    assert isinstance(images, np.ndarray)
    assert images.dtype == np.uint8
    assert images[:, :, :, 0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_a_binary_tensor_is_read_with_and_without_its_size() -> None:
    payload = bytes(NUMBERS)

    with_size = read(binary([2, 2, 2, 1], payload), payload).images
    without = read(asking([2, 2, 2, 1]), payload).images

    assert isinstance(with_size, np.ndarray)
    assert np.array_equal(with_size, np.asarray(without))
    assert with_size.ravel().tolist() == NUMBERS


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_images_are_read_from_bytes_in_both_shapes(shape: list[int]) -> None:
    payload = elements(b"one", b"")
    texts = [base64.b64encode(b"one").decode(), ""]
    nested = [[text] for text in texts] if len(shape) == 2 else texts

    assert read(binary(shape, payload, "BYTES"), payload, FILES).images == [b"one", b""]
    assert read(asking(shape, "BYTES", data=nested), signature=FILES).images == [b"one", b""]


def test_a_raw_body_is_one_image_and_wants_binary_outputs() -> None:
    file = read_request(b"\x89PNG", 0, FILES)
    tensor = read_request(b"\1\2\3\4", 0, TENSORS)

    assert file.images == [b"\x89PNG"]
    assert isinstance(tensor.images, np.ndarray)
    assert tensor.images.shape == (1, 2, 2, 1)
    assert file.outputs == [
        RequestedOutput("logits", 0, True),
        RequestedOutput("probabilities", 0, True),
    ]
    assert file.id


BLOB = bytes(4)
LYING: dict[str, tuple[dict[str, Any], bytes | None]] = {
    "shape beyond the bytes": (binary([4, 2, 2, 1], BLOB), BLOB),
    "shape below the bytes": (binary([1, 2, 2, 1], BLOB + BLOB), BLOB + BLOB),
    "product beyond 64 bits": (binary([1, 2**33, 2**33, 1], BLOB), BLOB),
    "dimension below zero": (binary([-1, 2, 2, 1], BLOB), BLOB),
    "no image": (binary([0, 2, 2, 1], b""), b""),
    "no batch dimension": (binary([2, 2, 1], BLOB), BLOB),
    "dimension that is no number": (asking([True, 2, 2, 1], data=[0] * 4), None),
    "size beyond the body": (asking([1, 2, 2, 1], parameters={"binary_data_size": 5}), BLOB),
    "size that is true": (asking([1, 2, 2, 1], parameters={"binary_data_size": True}), b"\0"),
    "data and bytes": (asking([1, 2, 2, 1], data=[0] * 4), BLOB),
    "neither": (asking([1, 2, 2, 1]), None),
    "wrong datatype": (asking([1, 2, 2, 1], "FP32", data=[0] * 4), None),
    "too few numbers": (asking([1, 2, 2, 1], data=[0] * 3), None),
    "ragged": (asking([1, 2, 2, 1], data=[[0, 0], 0, 0]), None),
    "number over 255": (asking([1, 2, 2, 1], data=[0, 0, 0, 256]), None),
    "number below 0": (asking([1, 2, 2, 1], data=[0, 0, 0, -1]), None),
    "number beyond 64 bits": (asking([1, 2, 2, 1], data=[0, 0, 0, 2**70]), None),
    "number with a fraction": (asking([1, 2, 2, 1], data=[0, 0, 0, 0.5]), None),
    "truth": (asking([1, 2, 2, 1], data=[0, 0, 0, True]), None),
    "text": (asking([1, 2, 2, 1], data=["0"] * 4), None),
    "no input": ({"inputs": []}, None),
    "two inputs": ({"inputs": asking([1, 2, 2, 1], data=[0] * 4)["inputs"] * 2}, None),
    "unknown output": (asking([1, 2, 2, 1], data=[0] * 4) | {"outputs": [{"name": "x"}]}, None),
    "one output twice": (
        asking([1, 2, 2, 1], data=[0] * 4) | {"outputs": [{"name": "logits"}] * 2},
        None,
    ),
    "timeout below 0": (
        asking([1, 2, 2, 1], data=[0] * 4) | {"parameters": {"timeout": -1}},
        None,
    ),
    "flag that is a text": (
        asking([1, 2, 2, 1], data=[0] * 4) | {"parameters": {"binary_data_output": "yes"}},
        None,
    ),
}


@pytest.mark.parametrize("case", LYING)
def test_a_request_that_contradicts_itself_or_the_model_is_refused(case: str) -> None:
    content, payload = LYING[case]

    with pytest.raises((MalformedRequestError, InvalidParameterError)):
        read(content, payload)


def test_an_unknown_input_is_refused_by_name() -> None:
    content = asking([1, 2, 2, 1], data=[0] * 4)
    content["inputs"][0]["name"] = "photos"

    with pytest.raises(InvalidParameterError, match=r"'photos'.*takes 'images'"):
        read(content)


ENDLESS = b"\xff\xff\xff\xff"


@pytest.mark.parametrize(
    "payload",
    [b"\1\0", elements(b"a")[:-1], elements(b"a") + b"\0", ENDLESS, elements(b"a", b"b")],
)
def test_elements_that_do_not_fit_their_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        read(binary([1], payload, "BYTES"), payload, FILES)


@pytest.mark.parametrize("data", [["?"], [1], ["YQ==", "YQ=="]])
def test_texts_that_are_not_as_many_images_in_base64_are_refused(data: list[Any]) -> None:
    with pytest.raises((MalformedRequestError, InvalidParameterError)):
        read(asking([1], "BYTES", data=data), signature=FILES)


def test_a_content_type_other_than_base64_is_refused() -> None:
    content = asking([1], "BYTES", data=["YQ=="], parameters={"content_type": "str"})

    with pytest.raises(InvalidParameterError, match="base64"):
        read(content, signature=FILES)


def test_shared_memory_is_refused_as_unsupported() -> None:
    content = asking([1, 2, 2, 1], parameters={"shared_memory_region": "r"})

    with pytest.raises(UnsupportedError):
        read(content)


@pytest.mark.parametrize("json_bytes", [1, 10**14])
def test_a_json_length_that_does_not_fit_is_refused(json_bytes: int) -> None:
    with pytest.raises(MalformedRequestError):
        read_request(b'{"inputs": []}', json_bytes, TENSORS)


def test_a_raw_tensor_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match=r"5 bytes.*needs 4"):
        read_request(bytes(5), 0, TENSORS)


def test_more_images_than_allowed_are_refused() -> None:
    with pytest.raises(TooManyImagesError):
        read(binary([5, 2, 2, 1], bytes(20)), bytes(20))


EXPECTED = r"UINT8 of shape \[-1, 2, 2, 1\]. For image files use 'm-image'"


@pytest.mark.parametrize("item", [b"0,", b"[],", b"{}", b'""'])
def test_a_flood_of_items_is_refused_before_it_is_parsed(item: bytes) -> None:
    with pytest.raises(MalformedRequestError, match=EXPECTED):
        read_request(b'{"inputs":[' + 2000 * item, None, TENSORS)


OTHERS: dict[str, tuple[str, list[int]]] = {
    "another datatype": ("FP32", [1, 2, 2, 1]),
    "text": ("BYTES", [1]),
    "another size": ("UINT8", [1, 224, 224, 1]),
    "channels first": ("UINT8", [1, 1, 2, 2]),
    "no batch": ("UINT8", [2, 2, 1]),
    "flat": ("UINT8", [4]),
    "no images": ("UINT8", [0, 2, 2, 1]),
    "all of it": ("FP32", [64, 3, 224, 224]),
}


@pytest.mark.parametrize("count", [4, 1_000_000])
@pytest.mark.parametrize("item", ["0.5,", "[0],"])
@pytest.mark.parametrize("case", OTHERS)
def test_another_tensor_is_refused_with_what_is_expected_however_large(
    case: str, item: str, count: int
) -> None:
    datatype, shape = OTHERS[case]
    text = json.dumps(asking(shape, datatype, data=["DATA"]))
    body = text.replace('"DATA"', (item * count)[:-1]).encode()
    began = time.process_time()

    with pytest.raises(InvalidParameterError, match=EXPECTED):
        read_request(body, None, TENSORS)

    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "item", [b'"shape":[' + b"1" * 200, b'"shape" : [ , ],"datatype":"FP32",', b'"datatype":   "']
)
def test_json_made_to_be_slow_to_look_through_is_refused_at_once(item: bytes) -> None:
    body = item * (5_000_000 // len(item))
    began = time.process_time()

    with pytest.raises(MalformedRequestError):
        read_request(body, None, TENSORS)

    assert time.process_time() - began < 1


@pytest.mark.parametrize("case", OTHERS)
def test_another_tensor_in_binary_is_refused_with_what_is_expected(case: str) -> None:
    datatype, shape = OTHERS[case]

    for payload in (b"", bytes(150_528)):
        with pytest.raises(InvalidParameterError, match=EXPECTED):
            read(binary(shape, payload, datatype), payload)


def test_more_of_the_right_tensor_is_too_many_images_however_large() -> None:
    body = json.dumps(asking([5_000, 2, 2, 1], data=[0] * 20_000)).encode()

    with pytest.raises(TooManyImagesError):
        read_request(body, None, TENSORS)


@pytest.mark.parametrize(
    "body",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b'{"images": ["iVBORw0KGgo="]}',
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n',
        json.dumps(asking([-1, 2, 2, 1], data=[0])).encode(),
        json.dumps(asking([1.0, 2, 2, 1], data=[0])).encode(),  # type: ignore[list-item]
        bytes(100),
    ],
)
def test_what_is_no_request_of_the_protocol_is_told_the_right_place(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match=EXPECTED + r".*Length: 0.*go to /predict"):
        read_request(body, None, TENSORS)


def test_tensors_for_the_model_of_files_are_told_the_right_model() -> None:
    with pytest.raises(
        InvalidParameterError, match=r"BYTES of shape \[-1, 1\]. For tensors use 'm'"
    ):
        read(asking([1, 2, 2, 1], data=[0] * 4), signature=FILES)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be"])
def test_json_of_other_encodings_is_read(encoding: str) -> None:
    text = json.dumps(asking([1, 2, 2, 1], data=NUMBERS[:4])).encode(encoding)

    assert np.asarray(read_request(text, None, TENSORS).images).ravel().tolist() == NUMBERS[:4]


def test_base64_is_read_as_clients_write_it() -> None:
    text = "data:image/png;base64,cGF5\r\nbG9hZA"

    assert read(asking([1], "BYTES", data=[text]), signature=FILES).images == [b"payload"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x" * 1025},
        {"datatype": "x" * 1025},
        {"parameters": {str(number): 0 for number in range(101)}},
    ],
)
def test_names_and_parameters_without_end_are_refused(change: dict[str, Any]) -> None:
    content = asking([1, 2, 2, 1], data=[0] * 4)
    content["inputs"][0] |= change

    with pytest.raises(MalformedRequestError, match="should have at most"):
        read(content)


@given(body=st.binary(max_size=300), json_bytes=st.none() | st.integers(0, 400))
def test_random_bytes_only_raise_our_own_errors(body: bytes, json_bytes: int | None) -> None:
    for signature in (TENSORS, FILES):
        with suppress(ServiceError):
            read_request(body, json_bytes, signature)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
SHAPES = st.lists(st.integers(0, 5) | st.integers(-(2**70), 2**70), min_size=1, max_size=9)


@given(
    shape=SHAPES | st.just([1, 2, 2, 1]) | st.just([2]),
    datatype=st.sampled_from(["UINT8", "BYTES", "FP32", ""]),
    size=st.integers(-1, 40) | JSON,
    payload=st.binary(max_size=40),
    parameters=st.dictionaries(
        st.sampled_from(["timeout", "binary_data_output", "classification"]), JSON
    ),
)
def test_lying_shapes_and_sizes_only_raise_our_own_errors(
    shape: list[int], datatype: str, size: object, payload: bytes, parameters: dict[str, object]
) -> None:
    content = asking(shape, datatype, parameters={"binary_data_size": size})
    content["parameters"] = parameters
    for signature in (TENSORS, FILES):
        try:
            images = read(content, payload, signature).images
        except ServiceError:
            continue
        assert len(images) == shape[0] <= signature.max_images


@given(data=JSON, shape=SHAPES | st.just([1, 2, 2, 1]) | st.just([1]))
def test_random_data_only_raises_our_own_errors(data: object, shape: list[int]) -> None:
    for signature in (TENSORS, FILES):
        with suppress(ServiceError):
            read(asking(shape, signature.input.datatype, data=data), signature=signature)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_elements_come_back_as_they_were_sent(files: list[bytes]) -> None:
    payload = elements(*files)

    assert read(binary([len(files)], payload, "BYTES"), payload, FILES).images == files
