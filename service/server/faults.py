"""Requests that are not read: why, and the response that says so where no application can."""

from http import HTTPStatus

import httptools

from service.fault import Fault

MAX_OVERHEAD_BYTES = 65_536
"""Of one request without its body: request line, headers, the frames of chunks, trailers."""
MAX_FIELDS = 256
"""Header fields of one request: 13,000 short ones, 64 KB in all, took 1.1 MB of memory."""
BODY_PER_OVERHEAD = 8
"""So many bytes of a body allow one byte more: a long upload has more frames."""


class HeadError(ValueError):
    """A head breaks the rules; raised within the parser, which then stops."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


INVALID = Fault(HTTPStatus.BAD_REQUEST, "Invalid HTTP request received.")
INCOMPLETE = Fault(HTTPStatus.BAD_REQUEST, "The request ended before it was complete.")
NO_TUNNEL = Fault(HTTPStatus.BAD_REQUEST, "CONNECT is not supported.")
NO_TLS = Fault(HTTPStatus.BAD_REQUEST, "This port needs TLS. Use https://.")
NO_MEMORY = Fault(
    HTTPStatus.SERVICE_UNAVAILABLE, "The service has no memory left. Try again in 1 s."
)
TOO_MANY_CONNECTIONS = Fault(
    HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are in use. Try again in 1 s."
)
TOO_LARGE = Fault(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request has more than {MAX_OVERHEAD_BYTES:,} bytes beside its body, "
    f"plus one for every {BODY_PER_OVERHEAD} of the body, or more than {MAX_FIELDS} header fields.",
)


def fault_of(error: httptools.HttpParserError) -> Fault:
    """Say what is wrong with what a parser could not read."""
    cause = error.__context__
    if isinstance(cause, HeadError):
        return cause.fault
    return NO_MEMORY if isinstance(cause, MemoryError) else INVALID


def max_bytes(body: int) -> int:
    """How many bytes a request may have, those of its body included."""
    return MAX_OVERHEAD_BYTES + body + body // BODY_PER_OVERHEAD


def render(fault: Fault) -> bytes:
    """Write the whole response."""
    retry = b"retry-after: 1\r\n" if fault.status == HTTPStatus.SERVICE_UNAVAILABLE else b""
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"content-length: %d\r\nconnection: close\r\n%b\r\n%b"
        % (fault.status, fault.status.phrase.encode(), len(fault.text), retry, fault.text.encode())
    )
