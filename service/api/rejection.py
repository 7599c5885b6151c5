"""A response that is written once for many requests: it differs in the request's id alone.

Under overload, or a flood of one client, most requests are rejected, and each rejection takes time
from the others.
"""

from starlette.types import Message, Send

from service.api.problems import error_response_for
from service.errors import ServiceError

_PLACEHOLDER = "0-request-id-0"


class Rejection:
    """A whole response, and what is recorded of it.

    Args:
        route: Template of the route that it stands for.
        path: In whose protocol it is written.
        error: What it says.
    """

    __slots__ = ("_after", "_before", "_has_id", "_headers", "_length", "code", "route", "status")

    def __init__(self, route: str, path: str, error: ServiceError) -> None:
        response = error_response_for(path, error, _PLACEHOLDER)
        before, placeholder, after = bytes(response.body).partition(_PLACEHOLDER.encode())
        self.route, self.code, self.status = route, error.code, response.status_code
        self._before, self._after, self._has_id = before, after, bool(placeholder)
        self._length = len(before) + len(after)
        self._headers = [pair for pair in response.raw_headers if pair[0] != b"content-length"]

    async def send(self, send: Send, request_id: bytes) -> None:
        """Send it as the response to a request."""
        if not self._has_id:
            request_id = b""
        length = b"%d" % (self._length + len(request_id))
        start: Message = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [*self._headers, (b"content-length", length)],
        }
        await send(start)
        body = self._before + request_id + self._after
        await send({"type": "http.response.body", "body": body})
