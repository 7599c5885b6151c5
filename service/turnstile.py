"""Refuse at the connection what there is no room for, before it becomes a request.

Under overload most requests are refused, and every refusal is paid by those that are not.
What uvicorn and the routes do for a request costs several times what it takes to write
"503, come back in 2 s". So `service.protocol` asks here as soon as a request's headers are
read; the answer, the log's line and the counters are those of the long way.
"""

import time
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import Scope

from service.access import Access
from service.errors import OverloadedError
from service.models import Models
from service.routes.predict import TIMEOUT_HEADER
from service.routes.problems import refusal_response
from service.telemetry import Telemetry

Headers = Sequence[tuple[bytes, bytes]]

PATH = "/predict"
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
        self._route = access.short_cuts["POST", PATH]
        self._overloaded = telemetry.refusals.labels(OverloadedError.code)
        self._refusal = Response()
        self._fresh_until = 0.0

    def refusal(self, method: bytes, url: bytes, headers: Headers) -> tuple[Headers, bytes] | None:
        """Give headers and body of a 503, or None if the request has to go the long way."""
        if url != PATH.encode() or method != b"POST":
            return None
        batcher, patience_s = self._models.find().batcher, self._patience_s
        if batcher.has_room(1, patience_s) or any(name in LONG_WAY for name, _ in headers):
            return None
        began = time.perf_counter()
        if began > self._fresh_until:
            try:
                batcher.refuse_overload(1, patience_s)
            except OverloadedError as error:
                self._refusal = refusal_response(PATH, error)
                self._fresh_until = began + FRESH_S
        self._overloaded.inc()
        scope: Scope = {"method": "POST", "path": PATH, "headers": headers, "route": self._route}
        more = self._access.note_refused(scope, self._refusal.status_code, began)
        return [*self._refusal.raw_headers, *more], bytes(self._refusal.body)
