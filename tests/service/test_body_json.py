"""Pictures in JSON, application/json: read in order, or refused with what to send."""

import base64
import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.body import payloads
from service.errors import MalformedRequestError, ServiceError, TooManyImagesError


def as_json(images: object, **more: object) -> bytes:
    return json.dumps({"images": images, **more}).encode()


def test_json_gives_its_pictures_in_the_order_sent() -> None:
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
    ["a", "YQ", "YQ=", "YQ==\n", " YQ==", "YQ==YQ==", "data:image/png;base64,YQ==", "Y\u00e9=="],
)
def test_text_that_is_not_base64_is_malformed_and_says_which_it_was(text: str) -> None:
    with pytest.raises(MalformedRequestError, match="Image 1 is not base64") as refused:
        payloads(as_json(["YQ==", text]), "application/json", 3)

    assert refused.value.index == 1


def test_json_with_too_many_pictures_is_refused_before_they_are_unpacked() -> None:
    with pytest.raises(TooManyImagesError, match="more than 2 images"):
        payloads(as_json(["not base64"] * 3), "application/json", 2)


@pytest.mark.parametrize("item", [b"0,", b'"",', b"[],", b'"YQ==",'])
def test_json_of_very_many_items_is_refused_before_it_is_parsed(item: bytes) -> None:
    with pytest.raises(TooManyImagesError, match="more than 3 images"):
        payloads(b'{"images": [' + item * 1_000_000, "application/json", 3)


def test_the_first_of_many_faults_is_told() -> None:
    with pytest.raises(MalformedRequestError, match=r"images\.1: ") as refused:
        payloads(as_json(["YQ==", 1, 2, 3]), "application/json", 3)

    assert isinstance(refused.value.__cause__, ValidationError)
    assert refused.value.__cause__.error_count() == 1


def test_as_many_prefixes_as_pictures_are_told_from_too_many_pictures() -> None:
    with pytest.raises(MalformedRequestError, match="without line breaks or a `data:` prefix"):
        payloads(as_json(["data:image/png;base64,YQ=="] * 300), "application/json", 300)


@given(body=st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_random_json_is_refused_or_read(body: bytes) -> None:
    with contextlib.suppress(ServiceError):
        assert payloads(body, "application/json", 3)
