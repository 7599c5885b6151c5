"""What RFC 9112 forbids in a request's head and httptools lets pass."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Za-z.:_~%-]+\])(?::[0-9]*)?")
"""RFC 3986, 3.2.2: a name, an IPv4 address, or an IPv6 address in brackets; then perhaps a port."""
VERSIONS = frozenset({"1.0", "1.1"})


class Fault(NamedTuple):
    """Why a request is not read."""

    status: HTTPStatus
    text: str


def check_head(version: str, headers: Iterable[tuple[bytes, bytes]]) -> Fault | int:
    """Find a fault in a head, or tell the length of the body that it announces.

    Args:
        version: Of HTTP, as `1.1`.
        headers: Names in lower case.

    Returns:
        The Content-Length; 0 without one.

    Source:
        RFC 9112, 2.3 (version), 3.2 (Host), 6.1 (Transfer-Encoding).
    """
    if version not in VERSIONS:
        return Fault(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
            f"HTTP/{version} is not spoken here. Send HTTP/1.1.",
        )
    hosts, codings, length = 0, b"", 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not HOST.fullmatch(value):
                return _bad(
                    "The Host header is neither a name nor an address, with or without port."
                )
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            codings += b"," + value
    if hosts > 1:
        return _bad("There is more than one Host header. Send one.")
    if not hosts and version == "1.1":
        return _bad("The Host header is missing. HTTP/1.1 requires one.")
    if codings:
        return _check_codings(version, codings) or 0
    return length


def _check_codings(version: str, codings: bytes) -> Fault | None:
    """Refuse any transfer coding but a single `chunked`."""
    if version == "1.0":
        return _bad("HTTP/1.0 has no Transfer-Encoding. Send Content-Length, or HTTP/1.1.")
    *others, last = [name for each in codings.lower().split(b",") if (name := each.strip())] or [
        b""
    ]
    if last != b"chunked" or b"chunked" in others:
        return _bad("The Transfer-Encoding must end with `chunked`, given once.")
    if others:
        return Fault(
            HTTPStatus.NOT_IMPLEMENTED,
            "The only Transfer-Encoding read here is `chunked`. "
            "Send a compressed body with Content-Encoding.",
        )
    return None


def _bad(text: str) -> Fault:
    return Fault(HTTPStatus.BAD_REQUEST, text)


def written(fault: Fault) -> bytes:
    """Write a whole answer."""
    retry = b"retry-after: 1\r\n" if fault.status == HTTPStatus.SERVICE_UNAVAILABLE else b""
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"content-length: %d\r\nconnection: close\r\n%b\r\n%b"
        % (fault.status, fault.status.phrase.encode(), len(fault.text), retry, fault.text.encode())
    )
