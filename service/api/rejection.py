"""A response that is written once for many requests: it differs in the request's id alone.

Under overload, or a flood of one client, most requests are rejected, and each rejection takes time
from the others.
"""

from http import HTTPStatus

from starlette.types import Message, Send

from service.api.problems import error_response_for
from service.errors import ServiceError

NOSNIFF = (b"x-content-type-options", b"nosniff")
"""On every response."""
_PLACEHOLDER = "0-request-id-0"


class Rejection:
    """A whole response, and what is recorded of it.

    Args:
        route: Template of the route that it stands for.
        path: In whose protocol it is written.
        error: What it says.
    """

    __slots__ = (
        "_after",
        "_before",
        "_has_id",
        "_head",
        "_headers",
        "_status_line",
        "code",
        "route",
        "status",
    )

    def __init__(self, route: str, path: str, error: ServiceError) -> None:
        response = error_response_for(path, error, _PLACEHOLDER)
        before, placeholder, after = bytes(response.body).partition(_PLACEHOLDER.encode())
        self.route, self.code, self.status = route, error.code, response.status_code
        self._before, self._after, self._has_id = before, after, bool(placeholder)
        self._headers = [pair for pair in response.raw_headers if pair[0] != b"content-length"]
        self._status_line = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n".encode()
        self._head = b"".join(b"%s: %s\r\n" % pair for pair in (*self._headers, NOSNIFF))

    async def send(self, send: Send, request_id: bytes) -> None:
        """Send it as the response to a request."""
        body = self._body(request_id)
        start: Message = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [*self._headers, (b"content-length", b"%d" % len(body))],
        }
        await send(start)
        await send({"type": "http.response.body", "body": body})

    def render(self, request_id: bytes) -> tuple[bytes, bytes, int]:
        """Write it for HTTP/1.1: the status line, all after it, and the length of the body.

        The server puts headers of its own in between.
        """
        body = self._body(request_id)
        length = len(body)
        rest = b"%sx-request-id: %s\r\ncontent-length: %d\r\n\r\n%s"
        return self._status_line, rest % (self._head, request_id, length, body), length

    def _body(self, request_id: bytes) -> bytes:
        return self._before + request_id + self._after if self._has_id else self._before
