"""gzip and deflate, in and out: bodies that may claim to be small and are not.

Decompression stops at the limit, so that a few kilobytes of zeros cost no more than an
honest body. No framework and no protocol here.
"""

import gzip
import zlib

from service.errors import BodyTooLargeError, MalformedRequestError, UnsupportedMediaTypeError

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's: 31 expects gzip's header, 15 zlib's own, which is what HTTP calls deflate."""
WORTH_BYTES = 1024
"""A smaller answer fits a packet as it is."""


def decompress(body: bytes, encoding: str | None, limit: int) -> bytes:
    """Undo a request's Content-Encoding, no further than the limit.

    Args:
        body: As received.
        encoding: The header, if there was one.
        limit: Of the result, in bytes.

    Raises:
        UnsupportedMediaTypeError: If the encoding is none that we read.
        BodyTooLargeError: If the result is over the limit.
        MalformedRequestError: If the body is no whole stream of that encoding.
    """
    name = (encoding or "identity").strip().lower()
    if name == "identity":
        return body
    if name not in WINDOW_BITS:
        raise UnsupportedMediaTypeError(
            f"The content encoding is {name[:100]!r}; send gzip, deflate or none."
        )
    stream = zlib.decompressobj(WINDOW_BITS[name])
    try:
        whole = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedRequestError(f"The body is no {name} stream ({error}).") from error
    if len(whole) > limit:
        raise BodyTooLargeError(limit)
    if not stream.eof or stream.unused_data:
        raise MalformedRequestError(f"The body is not one whole {name} stream. Send all of it.")
    return whole


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
