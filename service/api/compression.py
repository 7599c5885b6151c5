"""gzip and deflate: decompress request bodies, compress responses.

Decompression stops at the limit, so a small body cannot expand to use up the memory. Knows neither
framework nor protocol.
"""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterable, Sequence

from service.errors import BodyTooLargeError, MalformedRequestError, UnsupportedMediaTypeError

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's: 31 expects gzip's header, 15 zlib's own, which is what HTTP calls deflate."""
MAX_CODINGS = 2
"""Encodings applied in turn; requests have no reason for more."""
MIN_BYTES = 1024
"""A smaller response fits into one packet uncompressed."""


def read_codings(headers: Iterable[str]) -> list[str]:
    """Read a request's Content-Encoding headers: gzip and deflate, in the order of their use.

    Raises:
        UnsupportedMediaTypeError: If one is not supported, or there are too many.
    """
    names = [name.strip().lower() for header in headers for name in header.split(",")]
    codings = [name.removeprefix("x-") for name in names if name not in {"", "identity"}]
    unknown = [name for name in codings if name not in WINDOW_BITS]
    if unknown or len(codings) > MAX_CODINGS:
        raise UnsupportedMediaTypeError(
            f"The content encoding is {', '.join(names)[:100]!r}; send gzip, deflate or none.",
            accept_encoding=", ".join(WINDOW_BITS),
        )
    return codings


async def unpack(
    body: bytes, codings: Sequence[str], limit: int, charge: Callable[[int], None] = lambda _: None
) -> bytes:
    """Undo a request's Content-Encoding in a thread, up to the limit.

    Args:
        body: As received.
        codings: As `read_codings` gives them.
        limit: Of the result, in bytes.
        charge: Is called with the bytes by which the body grows; may raise.

    Raises:
        ServiceError: As `decompress` does.
    """
    for coding in reversed(codings):
        whole = await asyncio.to_thread(decompress, body, coding, limit)
        charge(len(whole) - len(body))
        body = whole
    return body


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """Undo one encoding, up to the limit.

    Raises:
        BodyTooLargeError: If the result is larger than the limit.
        MalformedRequestError: If the body is not one complete stream of that encoding.
    """
    bits = WINDOW_BITS[coding]
    if coding == "deflate" and not _has_zlib_header(body):
        bits = -bits
    stream = zlib.decompressobj(bits)
    try:
        whole = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedRequestError(
            f"The body is not a valid {coding} stream ({error})."
        ) from error
    if len(whole) > limit:
        raise BodyTooLargeError(limit, "They count uncompressed.")
    if not stream.eof or stream.unused_data:
        raise MalformedRequestError(
            f"The body is not one complete {coding} stream. Send all of it."
        )
    return whole


def _has_zlib_header(body: bytes) -> bool:
    """Whether it is zlib's format, which HTTP calls deflate; some clients send the bare stream."""
    return len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0


def choose_encoding(accepted: str | None, size: int) -> str | None:
    """Choose the encoding of a response: the first supported one that the client accepts.

    Args:
        accepted: The Accept-Encoding header, if there was one.
        size: Of the response, in bytes.

    Returns:
        `gzip`, `deflate`, or None for no compression.
    """
    if not accepted or size < MIN_BYTES:
        return None
    for entry in accepted.lower().split(","):
        name, _, weight = entry.partition(";")
        refused = weight.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        if name.strip() in WINDOW_BITS and not refused:
            return name.strip()
    return None


def compress(body: bytes, encoding: str) -> bytes:
    """Compress a response, at the fastest level: numbers compress little better at others."""
    if encoding == "gzip":
        return gzip.compress(body, compresslevel=1, mtime=0)
    return zlib.compress(body, level=1)
