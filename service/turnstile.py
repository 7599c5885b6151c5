"""Refuse at the connection what there is no room for, before it becomes a request.

Under overload most requests are refused, and every refusal is paid by those that are not.
What uvicorn and the routes do for a request costs several times what it takes to write
"503, come back in 2 s". So `service.protocol` asks here as soon as a request's headers are
read; the answer, the log's line and the counters are those of the long way.
"""

import time
from collections.abc import Sequence

from starlette.types import Scope

from service.access import Access
from service.errors import OverloadedError
from service.models import Models
from service.routes.predict import TIMEOUT_HEADER
from service.routes.problems import refusal_response
from service.telemetry import Telemetry

Headers = Sequence[tuple[bytes, bytes]]

PATH = "/predict"
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
        """Remember whom to ask."""
        self._models = models
        self._telemetry = telemetry
        self._access = access

    def refusal(self, method: bytes, url: bytes, headers: Headers) -> tuple[Headers, bytes] | None:
        """Give headers and body of a 503, or None if the request has to go the long way."""
        if url != PATH.encode() or method != b"POST":
            return None
        classifier = self._models.find()
        try:
            classifier.batcher.refuse_overload(1, classifier.patience_s(None))
        except OverloadedError as error:
            if any(name in LONG_WAY for name, _ in headers):
                return None
            return self._refuse(error, headers)
        return None

    def _refuse(self, error: OverloadedError, headers: Headers) -> tuple[Headers, bytes]:
        began = time.perf_counter()
        response = refusal_response(PATH, error)
        self._telemetry.refusals.labels(error.code).inc()
        scope: Scope = {"method": "POST", "path": PATH, "headers": headers}
        scope["route"] = self._access.short_cuts["POST", PATH]
        more = self._access.note_refused(scope, response.status_code, began)
        return [*response.raw_headers, *more], bytes(response.body)
