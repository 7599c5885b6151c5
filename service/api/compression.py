"""gzip and deflate, in and out: bodies that may claim to be small and are not.

Decompression stops at the limit, so that a few kilobytes of zeros cost no more than an
honest body. No framework and no protocol here.
"""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterable, Sequence

from service.errors import BodyTooLargeError, MalformedRequestError, UnsupportedMediaTypeError

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's: 31 expects gzip's header, 15 zlib's own, which is what HTTP calls deflate."""
MAX_CODINGS = 2
"""One over the other; a request has no reason for more."""
WORTH_BYTES = 1024
"""A smaller answer fits a packet as it is."""


def read_codings(headers: Iterable[str]) -> list[str]:
    """Read a request's Content-Encoding headers: gzip and deflate, in the order of their use.

    Raises:
        UnsupportedMediaTypeError: If one is none that we read, or there are too many.
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
    body: bytes, codings: Sequence[str], limit: int, take: Callable[[int], None] = lambda _: None
) -> bytes:
    """Undo a request's Content-Encoding beside the event loop, no further than the limit.

    Args:
        body: As received.
        codings: As `read_codings` gives them.
        limit: Of the result, in bytes.
        take: Makes room for what the result has more, or raises.

    Raises:
        ServiceError: As `decompress` does.
    """
    for coding in reversed(codings):
        whole = await asyncio.to_thread(decompress, body, coding, limit)
        take(len(whole) - len(body))
        body = whole
    return body


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """Undo one encoding, no further than the limit.

    Raises:
        BodyTooLargeError: If the result is over the limit.
        MalformedRequestError: If the body is no whole stream of that encoding.
    """
    bits = WINDOW_BITS[coding]
    if coding == "deflate" and not _has_zlib_header(body):
        bits = -bits
    stream = zlib.decompressobj(bits)
    try:
        whole = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedRequestError(f"The body is no {coding} stream ({error}).") from error
    if len(whole) > limit:
        raise BodyTooLargeError(limit, "It has them when it is unpacked.")
    if not stream.eof or stream.unused_data:
        raise MalformedRequestError(f"The body is not one whole {coding} stream. Send all of it.")
    return whole


def _has_zlib_header(body: bytes) -> bool:
    """Tell zlib's format, which HTTP calls deflate, from the bare stream that some clients send."""
    return len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0


def choose(accepted: str | None, size: int) -> str | None:
    """Choose an encoding for an answer: the first of ours that the client accepts.

    Args:
        accepted: The Accept-Encoding header, if there was one.
        size: Of the answer, in bytes.

    Returns:
        `gzip`, `deflate`, or None for an answer as it is.
    """
    if not accepted or size < WORTH_BYTES:
        return None
    for wish in accepted.lower().split(","):
        name, _, weight = wish.partition(";")
        refused = weight.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        if name.strip() in WINDOW_BITS and not refused:
            return name.strip()
    return None


def compress(body: bytes, encoding: str) -> bytes:
    """Compress an answer; the fastest level, since numbers give way little to any."""
    if encoding == "gzip":
        return gzip.compress(body, compresslevel=1, mtime=0)
    return zlib.compress(body, level=1)
