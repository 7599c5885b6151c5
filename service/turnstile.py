"""Refuse at the connection what there is no room for, before it becomes a request.

Under overload most requests are refused, and every refusal is paid by those that are not.
What uvicorn and the routes do for a request costs several times what it takes to write
"503, come back in 2 s". So `service.protocol` asks here as soon as a request's headers are
read; the answer, the log's line and the counters are those of the long way.
"""

import asyncio
import time

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.access import NOSNIFF, Access, Headers
from service.errors import OverloadedError
from service.models import Models
from service.routes.predict import TIMEOUT_HEADER
from service.routes.problems import refusal_response
from service.telemetry import Telemetry

METHOD, PATH = "POST", "/predict"
FRESH_S = 0.02
"""For so long a refusal's numbers are repeated to others."""
LONG_WAY = frozenset({b"expect", TIMEOUT_HEADER.encode()})
"""Headers that say more than a glance can judge."""


class Turnstile:
    """Judges requests to the default model by their head.

    Args:
        models: What is served.
        telemetry: What counts refusals.
        access: What notes requests.
    """

    def __init__(self, models: Models, telemetry: Telemetry, access: Access) -> None:
        """Remember whom to ask; no refusal is written yet."""
        self._models = models
        self._access = access
        self._patience_s = models.find().patience_s(None)
        self._scope: Scope = {
            "method": METHOD,
            "path": PATH,
            "route": access.short_cuts[METHOD, PATH],
        }
        self._overloaded = telemetry.refusals.labels(OverloadedError.code)
        self._before_id = self._after_id = b""
        self._fresh_until = 0.0
        self._let_in = 0

    def refusal(
        self, method: bytes, url: bytes, headers: Headers, default_headers: Headers
    ) -> bytes | None:
        """Write a whole 503, or give None if the request has to go the long way.

        Args:
            method: Of the request.
            url: As it came.
            headers: Of the request, names in lower case.
            default_headers: Of every answer; the server's own.
        """
        if url != PATH.encode() or method != METHOD.encode():
            return None
        batcher, patience_s = self._models.find().batcher, self._patience_s
        places = self._let_in + 1
        if batcher.has_room(places, patience_s):
            self._count_in()
            return None
        for name, _ in headers:
            if name in LONG_WAY:
                return None
        began = time.perf_counter()
        if began > self._fresh_until:
            try:
                batcher.refuse_overload(places, patience_s)
            except OverloadedError as error:
                self._before_id, self._after_id = written(PATH, error, default_headers)
                self._fresh_until = began + FRESH_S
        self._overloaded.inc()
        request_id = self._access.note_refused(self._scope, headers, 503, began)
        return b"%b%b%b" % (self._before_id, request_id, self._after_id)

    def _count_in(self) -> None:
        """Remember that a place is as good as taken, until its request could take it.

        What arrives together is judged together, before any of it gets to the batcher: the
        last free place would be promised to all.
        """
        if not self._let_in:
            asyncio.get_running_loop().call_soon(self._forget)
        self._let_in += 1

    def _forget(self) -> None:
        self._let_in = 0


def written(path: str, error: OverloadedError, default_headers: Headers) -> tuple[bytes, bytes]:
    """Write the long way's answer, in two parts: the request's id goes between them."""
    response = refusal_response(path, error)
    lines = [b"%b: %b\r\n" % pair for pair in (*default_headers, *response.raw_headers, NOSNIFF)]
    before = b"".join([STATUS_LINE[response.status_code], *lines, b"x-request-id: "])
    return before, b"\r\n\r\n" + bytes(response.body)
