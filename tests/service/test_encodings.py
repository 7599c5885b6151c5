import gzip
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.encodings import choose, compress, decompress
from service.errors import (
    BodyTooLargeError,
    MalformedRequestError,
    ServiceError,
    UnsupportedMediaTypeError,
)

BODY = bytes(2000)
PACKED = gzip.compress(BODY, mtime=0)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_comes_back_from_each_encoding(encoding: str) -> None:
    packed = compress(BODY, encoding)

    assert len(packed) < 100
    assert decompress(packed, encoding.upper(), len(BODY)) == BODY


@pytest.mark.parametrize("encoding", [None, "", "identity"])
def test_a_body_without_an_encoding_is_left_alone(encoding: str | None) -> None:
    assert decompress(BODY, encoding, 10) == BODY


def test_what_grows_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BodyTooLargeError):
        decompress(gzip.compress(bytes(50_000_000)), "gzip", 1000)


@pytest.mark.parametrize("packed", [b"", b"plain", PACKED[:-1], PACKED + b"x", zlib.compress(BODY)])
def test_what_is_not_one_whole_stream_is_refused(packed: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        decompress(packed, "gzip", 10_000)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="'br'"):
        decompress(BODY, "br", 10_000)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br"]))
def test_random_bytes_only_raise_our_own_errors(packed: bytes, encoding: str) -> None:
    with suppress(ServiceError):
        assert len(decompress(packed, encoding, 1000)) <= 1000


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
    assert choose(accepted, 5000) == chosen


def test_a_small_answer_goes_as_it_is() -> None:
    assert choose("gzip", 100) is None
