"""Images in JSON, application/json: read in order, or refused with what to send."""

import base64
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.api.json_text import as_utf8
from service.api.payloads import read_payloads
from service.errors import MalformedRequestError, ServiceError, TooManyImagesError


def payloads(body: bytes, content_type: str, max_images: int) -> list[bytes]:
    return read_payloads(body, content_type, max_images).images


def as_json(images: object, **more: object) -> bytes:
    return json.dumps({"images": images, **more}).encode()


def test_json_gives_its_images_in_the_order_sent() -> None:
    sent = [b"one", b"\0\xff", b""]
    body = as_json([base64.b64encode(content).decode() for content in sent])

    assert payloads(body, "application/json", 3) == sent


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b'{"images": ["YQ=="]',
        b"[]",
        b"",
        b"null",
        b'"YQ=="',
        b"{}",
        as_json("YQ=="),
        as_json([1]),
        as_json([None]),
        as_json([["YQ=="]]),
        as_json([]),
        as_json(["YQ=="], image="YQ=="),
        as_json(["YQ=="], **{"x" * 5_000: 1}),
        b'{"images": ["\\ud800"]}',
        b'{"images": ["\xff"]}',
        b"[" * 100_000,
        b'{"images": ' * 10_000,
    ],
)
def test_json_of_another_form_is_malformed_and_says_what_to_send(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match='"images": ') as refused:
        payloads(body, "application/json", 3)

    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "text",
    ["a", "YQ==YQ==", "Y\u00e9==", "data:image/png,YQ==", "data:image/png;base64", "YQ=a", "Y*=="],
)
def test_text_that_is_not_base64_is_malformed_and_says_which_it_was(text: str) -> None:
    with pytest.raises(MalformedRequestError, match="Image 1 is not base64") as refused:
        payloads(as_json(["YQ==", text]), "application/json", 3)

    assert refused.value.index == 1


def test_json_with_too_many_images_is_refused_before_they_are_unpacked() -> None:
    with pytest.raises(TooManyImagesError, match="more than 2 images"):
        payloads(as_json(["not base64"] * 3), "application/json", 2)


@pytest.mark.parametrize("item", [b'"",', b'"YQ==",', b'"YQ==" , '])
def test_json_of_very_many_texts_is_refused_before_it_is_parsed(item: bytes) -> None:
    with pytest.raises(TooManyImagesError, match="more than 3 images"):
        payloads(b'{"images": [' + item * 1_000_000, "application/json", 3)


@pytest.mark.parametrize("item", [b"0,", b"[],", b'"key": "text",'])
def test_json_of_very_many_other_items_is_refused_as_what_it_is(item: bytes) -> None:
    with pytest.raises(MalformedRequestError, match=r"1,000,000 commas.*/v2/models/\{name\}/infer"):
        payloads(b'{"images": [' + item * 1_000_000, "application/json", 3)


def test_the_first_of_many_faults_is_reported() -> None:
    with pytest.raises(MalformedRequestError, match=r"images\.1: ") as refused:
        payloads(as_json(["YQ==", 1, 2, 3]), "application/json", 3)

    assert isinstance(refused.value.__cause__, ValidationError)
    assert refused.value.__cause__.error_count() == 1


def test_a_prefix_for_each_image_is_not_taken_for_too_many_images() -> None:
    body = as_json(["data:image/png;base64,YQ=="] * 300)

    assert payloads(body, "application/json", 300) == [b"a"] * 300


IMAGE = bytes(range(256)) + b"\xfb\xef\xff\0"
TEXT = base64.b64encode(IMAGE).decode()
LINES = base64.encodebytes(IMAGE).decode()


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES.replace("\n", "\r\n"),
        LINES.replace("\n", " "),
        f"data:image/png;base64,{TEXT}",
        f" DATA:image/svg+xml;charset=utf-8;BASE64,{LINES}",
        TEXT.rstrip("="),
        base64.urlsafe_b64encode(IMAGE).decode(),
    ],
)
def test_base64_is_read_as_clients_write_it(text: str) -> None:
    body = as_json([text])

    assert payloads(body, "application/json", 1) == [IMAGE]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_line_breaks_that_json_forbids_within_texts_are_passed_over(line_end: bytes) -> None:
    body = b'{\n\t"images": [\n"' + LINES.encode().replace(b"\n", line_end) + b'"\n]}'

    assert payloads(body, "application/json", 1) == [IMAGE]


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]
)
def test_json_of_other_encodings_is_read(encoding: str) -> None:
    text = as_json([TEXT]).decode()

    for body in (text.encode(encoding), ("\ufeff" + text).encode(encoding)):
        assert payloads(body, "application/json", 1) == [IMAGE]


def test_other_bytes_with_zeros_are_not_taken_for_text_of_another_encoding() -> None:
    assert as_utf8(bytes(99)) == bytes(99)
    assert as_utf8(b"\0\0\xfe\xff\0\0\0{") == b"{"


def test_json_that_breaks_its_encoding_is_malformed_and_names_it() -> None:
    with pytest.raises(MalformedRequestError, match=r"starts like utf-16.*Send it in UTF-8"):
        payloads(as_json([TEXT]).decode().encode("utf-16") + b"x", "application/json", 1)


@given(body=st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_random_json_is_refused_or_read(body: bytes) -> None:
    with contextlib.suppress(ServiceError):
        assert payloads(body, "application/json", 3)
