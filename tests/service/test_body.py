import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.body import ACCEPTED, MULTIPART, RAW_TYPES, media_type, payloads, receive
from service.errors import (
    BodyTooLargeError,
    ClientLeftError,
    MalformedRequestError,
    ReceiveTimeoutError,
    ServiceError,
    TooManyImagesError,
    UnsupportedMediaTypeError,
)

FORM = "multipart/form-data; boundary=line"
LATIN = st.text(st.characters(codec="latin-1"), max_size=20)  # what a header can hold


class Arriving:
    """A body as it arrives, in the place of ASGI's `receive`."""

    def __init__(self, chunks: Iterable[bytes], pause_s: float = 0, is_cut: bool = False) -> None:
        self.left = iter([*chunks])
        self._pause_s = pause_s
        self._is_cut = is_cut

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(self._pause_s)
        chunk = next(self.left, None)
        if chunk is None and self._is_cut:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}


def chunked(*chunks: bytes, pause_s: float = 0) -> Arriving:
    return Arriving(chunks, pause_s)


async def endless() -> dict[str, Any]:
    """Give the next piece of a body that never ends."""
    await asyncio.sleep(0)
    return {"type": "http.request", "body": b"x" * 1_000, "more_body": True}


def form(*files: tuple[str, tuple[str | None, bytes, str]]) -> tuple[bytes, str]:
    """A form as httpx builds it: body and content type."""
    request = httpx.Request("POST", "http://service", files=list(files))
    return request.read(), request.headers["content-type"]


def part(content: bytes = b"picture", headers: str = 'form-data; name="file"') -> bytes:
    """One part between two lines, written by hand."""
    return b"--line\r\nContent-Disposition: " + headers.encode() + b"\r\n\r\n" + content + b"\r\n"


# media_type


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_content_type_is_read_whatever_its_case_and_parameters(name: str) -> None:
    assert media_type(f" {name.upper()} ; charset=binary") == name


@pytest.mark.parametrize("header", [None, ""])
def test_a_body_without_a_content_type_is_a_raw_image(header: str | None) -> None:
    assert media_type(header) == "application/octet-stream"
    assert payloads(b"bytes", header, 1) == [b"bytes"]


@pytest.mark.parametrize(
    "header",
    ["text/html", "image/tiff", "image/", ";", "application/x-www-form-urlencoded", "x" * 5_000],
)
def test_another_content_type_is_refused_with_the_ones_we_read(header: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError) as refused:
        media_type(header)

    assert all(name in str(refused.value) for name in ACCEPTED)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("name", RAW_TYPES)
def test_a_raw_body_is_one_picture_untouched(name: str) -> None:
    assert payloads(b"\0\r\n--line", name, 1) == [b"\0\r\n--line"]


# receive


@pytest.mark.anyio
@pytest.mark.parametrize("declared", [None, "6", "nonsense", "-1"])
async def test_a_body_is_collected_in_order(declared: str | None) -> None:
    assert await receive(chunked(b"ab", b"", b"cd", b"ef"), declared, 6) == b"abcdef"


@pytest.mark.anyio
async def test_a_body_that_declares_too_much_is_refused_unread() -> None:
    chunks = chunked(b"never read")

    with pytest.raises(BodyTooLargeError, match="more than 10 bytes"):
        await receive(chunks, "11", 10)

    assert next(chunks.left) == b"never read"


@pytest.mark.anyio
@pytest.mark.parametrize("declared", [None, "5"])
async def test_a_body_that_grows_beyond_the_limit_is_refused_there(declared: str | None) -> None:
    chunks = chunked(b"12345", b"678901", b"the rest")

    with pytest.raises(BodyTooLargeError):
        await receive(chunks, declared, 10)

    assert next(chunks.left) == b"the rest"


@pytest.mark.anyio
async def test_an_endless_body_ends_at_the_limit() -> None:
    with pytest.raises(BodyTooLargeError):
        await receive(endless, None, 10_000)


@pytest.mark.anyio
async def test_a_slow_trickle_is_cut_off_by_the_time_of_the_whole_body() -> None:
    began = time.perf_counter()

    with pytest.raises(ReceiveTimeoutError, match=r"within 0\.2 s; \d bytes did"):
        await receive(chunked(*[b"x"] * 100, pause_s=0.05), None, 1_000, timeout_s=0.2)

    assert 0.15 < time.perf_counter() - began < 2


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [[], [b"half"]])
async def test_a_client_that_leaves_within_the_body_is_told_apart(chunks: list[bytes]) -> None:
    with pytest.raises(ClientLeftError):
        await receive(Arriving(chunks, is_cut=True), None, 10)


@pytest.mark.anyio
@pytest.mark.parametrize("declared", [None, "0"])
async def test_an_empty_body_is_malformed(declared: str | None) -> None:
    with pytest.raises(MalformedRequestError, match="The body is empty"):
        await receive(chunked(b""), declared, 10)


# multipart/form-data


def test_a_form_gives_its_one_file() -> None:
    body, content_type = form(("file", ("a.png", b"\x89PNG\r\n\r\n--\0", "image/png")))

    assert payloads(body, content_type, 1) == [b"\x89PNG\r\n\r\n--\0"]


def test_a_form_gives_many_files_in_the_order_sent() -> None:
    sent = [bytes([index]) * index for index in range(20)]
    body, content_type = form(*[("file", ("same.png", content, "image/png")) for content in sent])

    assert payloads(body, content_type, 20) == sent


def test_a_part_without_a_file_name_is_a_file_all_the_same() -> None:
    body, content_type = form(("file", (None, b"picture", "image/png")))

    assert b"filename" not in body
    assert payloads(body, content_type, 1) == [b"picture"]


def test_a_part_may_say_of_itself_what_it_likes() -> None:
    body, content_type = form(("file", ("../../etc/passwd", b"picture", "text/html")))

    assert payloads(body, content_type, 1) == [b"picture"]


def test_a_form_with_too_many_files_is_refused() -> None:
    body, content_type = form(*[("file", ("a.png", b"x", "image/png"))] * 3)

    with pytest.raises(TooManyImagesError, match="more than 2 images"):
        payloads(body, content_type, 2)


@pytest.mark.parametrize("name", ["image", "File", "file[]", "", "x" * 3_000, "fil\u00e9"])
def test_a_part_of_another_name_is_refused(name: str) -> None:
    body, content_type = form((name, ("a.png", b"x", "image/png")))

    with pytest.raises(MalformedRequestError, match="must be named 'file'") as refused:
        payloads(body, content_type, 2)

    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; charset=utf-8",
    ],
)
def test_a_form_without_a_boundary_is_malformed(content_type: str) -> None:
    with pytest.raises(MalformedRequestError, match="names no boundary"):
        payloads(part() + b"--line--\r\n", content_type, 1)


def test_a_boundary_that_is_too_long_is_malformed() -> None:
    with pytest.raises(MalformedRequestError):
        payloads(part(), f"multipart/form-data; boundary={'x' * 300}", 1)


@pytest.mark.parametrize("ending", [b"--line--\r\n", b"--line--", b"--line--\r\nepilogue"])
def test_a_form_may_end_with_or_without_a_last_line(ending: bytes) -> None:
    assert payloads(part(b"one") + part(b"two") + ending, FORM, 2) == [b"one", b"two"]


def test_a_form_that_is_cut_off_anywhere_is_malformed() -> None:
    whole = part(b"one") + part(b"two") + b"--line--"

    for length in range(1, len(whole)):
        with pytest.raises(MalformedRequestError):
            payloads(whole[:length], FORM, 2)


@pytest.mark.parametrize("body", [b"--line--\r\n", b"\r\n\r\n--line--\r\n"])
def test_a_form_without_parts_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="no part named 'file'"):
        payloads(body, FORM, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"junk",
        b"--other\r\n\r\n",
        b"--line\r\n\r\nno headers\r\n--line--",
        b"--line\r\nno colon\r\n\r\nx\r\n--line--",
        b"--line\r\nContent-Disposition: form-data\r\n\r\nx\r\n--line--",
        b"--line\r\n: form-data; name=file\r\n\r\nx\r\n--line--",
        part() + b"--line\rX",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_a_form_that_is_junk_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        payloads(body, FORM, 9)


def test_a_form_in_a_form_is_taken_for_a_picture() -> None:
    inner = part(b"inner").replace(b"line", b"fold") + b"--fold--"

    assert payloads(part(inner) + b"--line--", FORM, 9) == [inner]


@pytest.mark.parametrize("lines", [1, 7, 100_000])
def test_a_part_with_huge_headers_is_malformed(lines: int) -> None:
    header = 'form-data; name="file"' + f"\r\nX-Filler: {'x' * (20_000 // lines)}" * lines

    with pytest.raises(MalformedRequestError):
        payloads(part(headers=header) + b"--line--", FORM, 1)


def test_a_part_with_modest_headers_is_read() -> None:
    header = 'form-data; name="file"' + f"\r\nX-Filler: {'x' * 2_000}" * 5

    assert payloads(part(headers=header) + b"--line--", FORM, 1) == [b"picture"]


def test_headers_are_counted_for_each_part_alone() -> None:
    header = 'form-data; name="file"' + f"\r\nX-Filler: {'x' * 2_000}" * 5

    body = part(headers=header) * 8 + b"--line--"

    assert len(payloads(body, FORM, 8)) == 8


@given(body=st.binary(max_size=300), boundary=LATIN, has_start=st.booleans())
@settings(max_examples=300, deadline=None)
def test_random_forms_are_refused_or_read(body: bytes, boundary: str, has_start: bool) -> None:
    start = b"--line\r\nContent-Disposition: form-data; name=file\r\n" if has_start else b""
    content_type = FORM if has_start else f"{MULTIPART}; boundary={boundary}"

    with contextlib.suppress(ServiceError):
        assert payloads(start + body, content_type, 3)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_forms_with_changed_bytes_are_refused_or_read(data: st.DataObject) -> None:
    body = bytearray(part(b"one") + part(b"\r\n--li") + b"--line--\r\n")
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(ServiceError):
        assert 1 <= len(payloads(bytes(body), FORM, 3)) <= 3


# application/json


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


@given(body=st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_random_json_is_refused_or_read(body: bytes) -> None:
    with contextlib.suppress(ServiceError):
        assert payloads(body, "application/json", 3)
