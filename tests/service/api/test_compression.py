import asyncio
import gzip
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.compression import choose_encoding, compress, read_codings, unpack
from service.errors import (
    BodyTooLargeError,
    MalformedRequestError,
    ServiceError,
    UnsupportedMediaTypeError,
)

BODY = bytes(2000)
PACKED = gzip.compress(BODY, mtime=0)


def bare(body: bytes) -> bytes:
    """Give deflate without zlib's header, as some clients send it."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


def undo(body: bytes, encoding: str | None, limit: int) -> bytes:
    return asyncio.run(unpack(body, read_codings([encoding] if encoding else []), limit))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_comes_back_from_each_encoding(encoding: str) -> None:
    packed = compress(BODY, encoding)

    assert len(packed) < 100
    assert undo(packed, encoding.upper(), len(BODY)) == BODY


@pytest.mark.parametrize("encoding", [None, "", "identity"])
def test_a_body_without_an_encoding_is_left_alone(encoding: str | None) -> None:
    assert undo(BODY, encoding, 10) == BODY


def test_what_grows_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BodyTooLargeError):
        undo(gzip.compress(bytes(50_000_000)), "gzip", 1000)


@pytest.mark.parametrize("packed", [b"", b"plain", PACKED[:-1], PACKED + b"x", zlib.compress(BODY)])
def test_what_is_not_one_whole_stream_is_refused(packed: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        undo(packed, "gzip", 10_000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "gzip, gzip, gzip", "gzip;q=1"])
def test_an_unknown_encoding_is_refused_with_those_we_read(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match=f"'{encoding}'; send gzip") as refused:
        undo(BODY, encoding, 10_000)

    assert refused.value.headers == {"Accept-Encoding": "gzip, deflate"}


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (PACKED, "x-gzip"),
        (bare(BODY), "deflate"),
        (zlib.compress(BODY, wbits=10), "deflate"),
        (gzip.compress(PACKED, mtime=0), "gzip, GZIP"),
        (gzip.compress(zlib.compress(BODY), mtime=0), "identity, deflate,, gzip"),
    ],
)
def test_other_names_forms_and_lists_of_encodings_are_read(packed: bytes, encoding: str) -> None:
    assert undo(packed, encoding, 10_000) == BODY


def test_headers_that_follow_one_another_are_one_list() -> None:
    assert read_codings(["deflate", "identity, x-gzip"]) == ["deflate", "gzip"]


def test_no_step_of_several_goes_beyond_the_limit() -> None:
    packed = gzip.compress(gzip.compress(bytes(50_000_000)))

    with pytest.raises(BodyTooLargeError, match="They count uncompressed"):
        undo(packed, "gzip, gzip", 100_000)


def test_room_is_taken_for_what_unpacking_adds() -> None:
    taken: list[int] = []

    asyncio.run(unpack(gzip.compress(PACKED), ["gzip", "gzip"], 10_000, taken.append))

    assert sum(taken) == len(BODY) - len(gzip.compress(PACKED))


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br"]))
def test_random_bytes_only_raise_our_own_errors(packed: bytes, encoding: str) -> None:
    with suppress(ServiceError):
        assert len(undo(packed, encoding, 1000)) <= 1000


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        (None, None),
        ("br", None),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0, Deflate", "deflate"),
        ("gzip; q=0.5", "gzip"),
    ],
)
def test_the_first_of_our_encodings_that_is_accepted_is_chosen(
    accepted: str | None, chosen: str | None
) -> None:
    assert choose_encoding(accepted, 5000) == chosen


def test_a_small_answer_goes_as_it_is() -> None:
    assert choose_encoding("gzip", 100) is None
