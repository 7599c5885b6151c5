"""A body's content type, and its bytes as they arrive: in order, within size and time."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest

from service.api.body import receive
from service.api.media_types import ACCEPTED, JSON, MULTIPART, RAW_TYPES, BodyKind, body_kind
from service.api.payloads import read_payloads
from service.errors import (
    BodyTooLargeError,
    ClientDisconnectedError,
    MalformedRequestError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)


class Arriving:
    """A body as it arrives, in place of ASGI's `receive`."""

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


# content types

KINDS: dict[str, BodyKind] = {**dict.fromkeys(RAW_TYPES, "raw"), MULTIPART: "form", JSON: "json"}
NAMES_OF_FILES = [
    "image/jpg",
    "image/pjpeg",
    "image/x-png",
    "image/x-ms-bmp",
    "image/x-icon",
    "image/heic",
    "image/tiff",
    "image/*",
    "image/",
    "*/*",
    "binary/octet-stream",
    "application/binary",
    "application/x-www-form-urlencoded",
    "application/pdf",
    "text/plain;charset=UTF-8",
    "png",
    ";",
    "",
    "x" * 5_000,
    None,
]
IMAGE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_content_type_is_read_whatever_its_case_and_parameters(name: str) -> None:
    assert body_kind(f" {name.upper()} ; charset=binary") == KINDS[name]


@pytest.mark.parametrize("name", ["text/json", "application/vnd.api+json", "application/JSON"])
def test_other_names_of_json_are_taken(name: str) -> None:
    assert read_payloads(b'{"images": ["YQ=="]}', name, 1).images == [b"a"]


@pytest.mark.parametrize("header", NAMES_OF_FILES)
def test_other_names_of_files_and_none_are_taken_for_one_image(header: str | None) -> None:
    assert read_payloads(IMAGE, header, 1).images == [IMAGE]


@pytest.mark.parametrize(
    "header", ["text/html", "TEXT/CSV; header=present", "video/mp4", "multipart/mixed", "audio/x"]
)
def test_another_content_type_is_refused_with_the_ones_we_read(header: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError) as refused:
        body_kind(header)

    assert all(name in str(refused.value) for name in ACCEPTED)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("name", RAW_TYPES)
def test_a_raw_body_is_one_image_untouched(name: str) -> None:
    assert read_payloads(b"\0\r\n--line", name, 1).images == [b"\0\r\n--line"]


@pytest.mark.parametrize(
    ("body", "way_out"),
    [
        (b'{"images": []}', "content type application/json"),
        (b'\xef\xbb\xbf\n {"images": []}', "content type application/json"),
        ('{"images": []}'.encode("utf-16"), "content type application/json"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n\0', "multipart/form-data"),
        (b"data:image/png;base64,iVBO", "the file's own bytes"),
        (b"iVBORw0KGgoAAAANSUhEUgAA", "the file's own bytes"),
    ],
)
@pytest.mark.parametrize("header", [None, "image/png", "application/x-www-form-urlencoded"])
def test_text_in_the_place_of_a_file_is_named(
    body: bytes, way_out: str, header: str | None
) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match=way_out) as refused:
        read_payloads(body, header, 1)

    assert (header or "not given") in str(refused.value)


@pytest.mark.parametrize("body", [b"file=boot.png&top_k=3\n", IMAGE.translate(None, b"\0\r\n")])
def test_an_urlencoded_form_and_what_curl_makes_of_a_file_are_named(body: bytes) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match=r"curl -d.*--data-binary"):
        read_payloads(body, "application/x-www-form-urlencoded; charset=utf-8", 1)


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

    with pytest.raises(RequestTimeoutError, match=r"within 0\.2 s; \d bytes did"):
        await receive(chunked(*[b"x"] * 100, pause_s=0.05), None, 1_000, timeout_s=0.2)

    assert 0.15 < time.perf_counter() - began < 2


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [[], [b"half"]])
async def test_a_client_that_leaves_within_the_body_is_told_apart(chunks: list[bytes]) -> None:
    with pytest.raises(ClientDisconnectedError):
        await receive(Arriving(chunks, is_cut=True), None, 10)


@pytest.mark.anyio
@pytest.mark.parametrize("declared", [None, "0"])
async def test_an_empty_body_is_malformed(declared: str | None) -> None:
    with pytest.raises(MalformedRequestError, match="The body is empty"):
        await receive(chunked(b""), declared, 10)
