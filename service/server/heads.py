"""What RFC 9112 forbids in a request's head and httptools lets pass."""

import re
from collections.abc import Iterable
from http import HTTPStatus

import httptools

from service.fault import Fault
from service.server.faults import HeadError

HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z.:_~%-]+\])(?::[0-9]*)?")
"""RFC 3986, 3.2.2: a name, an IPv4 address, or an IPv6 address in brackets; then perhaps a port."""
VERSIONS = frozenset({"1.0", "1.1"})


def check_head(version: str, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Check a head, and return the Content-Length that it announces; 0 without one.

    Args:
        version: Of HTTP, as `1.1`.
        headers: Names in lower case.

    Raises:
        HeadError: If the head breaks the rules.

    Source:
        RFC 9112, 2.3 (version), 3.2 (Host), 6.1 (Transfer-Encoding).
    """
    if version not in VERSIONS:
        text = f"HTTP/{version} is not supported. Send HTTP/1.1."
        raise HeadError(Fault(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, text))
    hosts, codings, length = 0, b"", 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not HOST.fullmatch(value):
                raise _bad("The Host header must be a name or an address, optionally with a port.")
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            codings += b"," + value
    if hosts > 1:
        raise _bad("There is more than one Host header. Send one.")
    if not hosts and version == "1.1":
        raise _bad("The Host header is missing. HTTP/1.1 requires one.")
    if codings:
        _check_codings(version, codings)
    return length


def has_path(url: bytes) -> bool:
    """Tell whether a request's target can be read, and has a path."""
    try:
        return url.isascii() and bool(httptools.parse_url(url).path)
    except httptools.HttpParserInvalidURLError:
        return False


def _check_codings(version: str, codings: bytes) -> None:
    """Refuse any transfer coding but a single `chunked`."""
    if version == "1.0":
        raise _bad("HTTP/1.0 has no Transfer-Encoding. Send Content-Length, or HTTP/1.1.")
    names = [name for each in codings.lower().split(b",") if (name := each.strip())]
    if names[-1:] != [b"chunked"] or names.count(b"chunked") > 1:
        raise _bad("The Transfer-Encoding must end with `chunked`, given once.")
    if len(names) > 1:
        text = (
            "The only Transfer-Encoding supported is `chunked`. "
            "Send a compressed body with Content-Encoding."
        )
        raise HeadError(Fault(HTTPStatus.NOT_IMPLEMENTED, text))


def _bad(text: str) -> HeadError:
    return HeadError(Fault(HTTPStatus.BAD_REQUEST, text))
