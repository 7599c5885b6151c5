"""Load shedding: reject an inference request that would miss its deadline, before reading its body.

Under overload most requests are rejected, and each rejection takes time from the others. So
`service.api.middleware` asks here first, for every inference route, and a rejection is written once
for many requests. Requests that pass are checked again once their images are known
(`service.inference.admission`).
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client import Counter

from service.api.problems import V2
from service.api.rejection import Rejection
from service.api.v2.names import FILES, resolve
from service.errors import ModelNotFoundError
from service.observability.metrics import Telemetry
from service.registry.classifier import Classifier
from service.registry.registry import ModelRegistry

PREDICT = "/predict"
TIMEOUT_HEADER = "x-request-timeout-ms"
TIMEOUT = TIMEOUT_HEADER.encode()
MAX_DIGITS = 18
"""Of a number in a header; Python refuses to parse thousands."""
REUSE_S = 0.02
"""For so long a rejection is repeated to other clients, with its figures."""
_PATH = re.compile(r"(/v2)?/models/([^/]+)(?:/versions/([^/]+))?/(?(1)infer|predict)")


class _Target(NamedTuple):
    """What a request asks for."""

    classifier: Classifier
    route: str
    takes_files: bool


class _Written(NamedTuple):
    """A rejection that may be repeated until then, on `time.perf_counter`'s clock."""

    until: float
    rejection: Rejection
    counter: Counter


class LoadShedder:
    """Decides by a request's head alone.

    Args:
        models: All that are served.
        telemetry: Counts the rejections.
    """

    def __init__(self, models: ModelRegistry, telemetry: Telemetry) -> None:
        self._models = models
        self._telemetry = telemetry
        self._written: dict[tuple[int, str], _Written] = {}
        self._passed: dict[int, int] = {}  # in this iteration of the event loop, by model

    def check(
        self, path: str, headers: Mapping[bytes, bytes], *, is_early: bool = False
    ) -> Rejection | None:
        """Decide whether to reject a request; None if it may continue, or is no inference request.

        Args:
            path: Of a POST request, without the prefix of the application.
            headers: Names in lower case. Invalid numbers are left to the routes.
            is_early: The request is begun in the next iteration of the event loop. Until then it
                counts as waiting, for those that arrive together with it.
        """
        if path == PREDICT:
            classifier, route, takes_files = self._models.find(), PREDICT, True
        elif (found := self._find(path)) is not None:
            classifier, route, takes_files = found
        else:
            return None
        timeout_s = classifier.settings.deadline_s
        if has_own_limit := TIMEOUT in headers and _number(headers[TIMEOUT]) > 0:
            timeout_s = min(timeout_s, _number(headers[TIMEOUT]) / 1000)
        file_bytes = _number(headers.get(b"content-length", b"")) if takes_files else 0
        ahead = self._passed.get(id(classifier), 0) if is_early else 0
        verdict = classifier.admission.verdict(1, timeout_s, file_bytes=file_bytes, ahead=ahead)
        if verdict is None:
            if is_early:  # admission counts it from the next iteration on
                if not self._passed:
                    asyncio.get_running_loop().call_soon(self._passed.clear)
                self._passed[id(classifier)] = ahead + 1
            return None
        key, now = (id(classifier), route), time.perf_counter()
        written = self._written.get(key)
        if written is None or written.until < now or has_own_limit:
            rejection = Rejection(route, path, verdict())
            counter = self._telemetry.failures.labels(rejection.code)
            written = _Written(now + REUSE_S, rejection, counter)
            if not has_own_limit:
                self._written = {key: written}
        written.counter.inc()
        if route.startswith(V2):
            self._telemetry.statistics[classifier].record_failure(0)
        return written.rejection

    def _find(self, path: str) -> _Target | None:
        """Find the model that a path names; None if there is none: the route answers with 404."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        v2, name, version = match.groups()
        suffix = FILES
        try:
            if v2:
                classifier, suffix = resolve(self._models, name, version)
            else:
                classifier = self._models.find(name, version)
        except ModelNotFoundError:
            return None
        versions = "" if version is None else "/versions/{version}"
        route = f"{v2 or ''}/models/{{name}}{versions}/" + ("infer" if v2 else "predict")
        return _Target(classifier, route, suffix == FILES)


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) <= MAX_DIGITS else 0
