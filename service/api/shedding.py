"""Refuse at the connection what there is no room for, before it becomes a request.

Under overload most requests are refused, and every refusal is paid by those that are not.
What uvicorn and the routes do for a request costs several times what it takes to write
"503, come back in 2 s". So `service.server.protocol` asks here as soon as a request's headers are
read; the answer, the log's line and the counters are those of the long way.
"""

import asyncio
import time
from http import HTTPStatus

from starlette.types import Scope

from service.api.middleware import NOSNIFF, Access, Ended, Headers
from service.api.problems import refusal_response
from service.api.routes.predict import TIMEOUT_HEADER
from service.errors import DeadlineExceededError, OverloadedError
from service.observability.metrics import Telemetry
from service.registry.registry import ModelRegistry

METHOD, PATH = "POST", "/predict"
VERB, URL = METHOD.encode(), PATH.encode()
FRESH_S = 0.02
"""For so long a refusal's numbers are repeated to others."""
LONG_WAY = frozenset({b"expect", TIMEOUT_HEADER.encode()})
"""Headers that say more than a glance can judge."""


class Turnstile:
    """Judges requests to the default model by their head.

    What arrives in one turn of the event loop is judged together: who finds no room shuts the
    turnstile for all that come after it, and refusals are noted once, at the end of the turn.

    Args:
        models: What is served.
        telemetry: What counts refusals.
        access: What notes requests.
    """

    def __init__(self, models: ModelRegistry, telemetry: Telemetry, access: Access) -> None:
        """Remember whom to ask; no refusal is written yet."""
        self._models = models
        self._access = access
        self._patience_s = models.find().patience_s(None)
        self._scope: Scope = {
            "method": METHOD,
            "path": PATH,
            "route": access.short_cuts[METHOD, PATH],
        }
        self._overloaded = telemetry.failures.labels(OverloadedError.code)
        self._before_id = self._after_id = b""
        self._fresh_until = 0.0
        self._let_in = 0
        self._is_shut = False
        self._end_is_due = False
        self._refused: list[Ended] = []

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
        if url != URL or method != VERB:
            return None
        if not self._is_shut and self._lets_in(default_headers):
            return None
        for name, _ in headers:
            if name in LONG_WAY:
                return None
        request_id = self._access.request_id(headers)
        self._refused.append((request_id, time.perf_counter()))
        return b"%b%b%b" % (self._before_id, request_id, self._after_id)

    def _lets_in(self, default_headers: Headers) -> bool:
        """Promise a place, or shut until the end of the turn.

        A place is as good as taken before its request takes it: what arrives together is judged
        before any of it gets to the batcher, and the last free place would be promised to all.
        """
        if not self._end_is_due:
            self._end_is_due = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        admission, promised = self._models.find().admission, self._let_in
        places = promised + 1
        if admission.verdict(1, self._patience_s, reserved=promised) is None:
            self._let_in = places
            return True
        self._is_shut = True
        if (now := time.perf_counter()) > self._fresh_until:
            try:
                admission.check(1, self._patience_s, reserved=promised)
            except OverloadedError as error:
                self._before_id, self._after_id = written(PATH, error, default_headers)
                self._fresh_until = now + FRESH_S
            except DeadlineExceededError:  # no 503: the normal path answers it
                self._is_shut = False
                return True
            else:  # the rate was measured anew in between
                self._is_shut, self._let_in = False, places
                return True
        return False

    def _end_turn(self) -> None:
        self._let_in, self._is_shut, self._end_is_due = 0, False, False
        if self._refused:
            refused, self._refused = self._refused, []
            self._overloaded.inc(len(refused))
            self._access.note(self._scope, 503, refused)


def written(path: str, error: OverloadedError, default_headers: Headers) -> tuple[bytes, bytes]:
    """Write the long way's answer, in two parts: the request's id goes between them."""
    response = refusal_response(path, error)
    lines = [b"%b: %b\r\n" % pair for pair in (*default_headers, *response.raw_headers, NOSNIFF)]
    status = HTTPStatus(response.status_code)
    first = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    before = b"".join([first, *lines, b"x-request-id: "])
    return before, b"\r\n\r\n" + bytes(response.body)
