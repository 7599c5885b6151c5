"""Load shedding: refuse an inference request that would be too late, before its body is read.

Under overload most requests are refused, and those that are not pay for every refusal. So
`service.api.middleware` asks here first, for every inference route, and a refusal is written once
for many requests. What is let through is judged once more when its images are known
(`service.inference.admission`).
"""

import re
import time
from typing import NamedTuple

from prometheus_client import Counter

from service.api.problems import refusal_response
from service.api.v2.names import FILES, resolve
from service.errors import ModelNotFoundError
from service.observability.metrics import Telemetry
from service.registry.classifier import Classifier
from service.registry.registry import ModelRegistry

PREDICT = "/predict"
TIMEOUT_HEADER = "x-request-timeout-ms"
TIMEOUT = TIMEOUT_HEADER.encode()
REUSE_S = 0.02
"""For so long a refusal is repeated to other clients, with its figures."""
_PATH = re.compile(r"/models/([^/]+)/predict|/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class Rejection(NamedTuple):
    """A whole response, and the template of the route that it stands for."""

    route: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class _Target(NamedTuple):
    """What a request asks for."""

    classifier: Classifier
    route: str
    takes_files: bool


class _Written(NamedTuple):
    """A refusal that may be repeated until then, on `time.perf_counter`'s clock."""

    until: float
    rejection: Rejection
    counter: Counter


class LoadShedder:
    """Decides by a request's head alone.

    Args:
        models: All that are served.
        telemetry: Counts what is refused.
    """

    def __init__(self, models: ModelRegistry, telemetry: Telemetry) -> None:
        self._models = models
        self._telemetry = telemetry
        self._written: dict[tuple[int, str], _Written] = {}

    def check(self, path: str, content_length: int, timeout_s: float | None) -> Rejection | None:
        """Write the refusal of a request; None if it may go on, or is no inference request.

        Args:
            path: Of a POST request, without the prefix of the application.
            content_length: Of its body; 0 if it did not say.
            timeout_s: The client's time limit; None: it has none of its own.
        """
        if path == PREDICT:
            target = _Target(self._models.find(), PREDICT, True)
        elif (found := self._find(path)) is not None:
            target = found
        else:
            return None
        classifier = target.classifier
        file_bytes = content_length if target.takes_files else 0
        verdict = classifier.verdict(file_bytes, timeout_s)
        if verdict is None:
            return None
        key, now = (id(classifier), target.route), time.perf_counter()
        written = self._written.get(key)
        if written is None or written.until < now or timeout_s is not None:
            error = verdict()
            response = refusal_response(path, error)
            status, body = response.status_code, bytes(response.body)
            rejection = Rejection(target.route, status, response.raw_headers, body)
            written = _Written(
                now + REUSE_S, rejection, self._telemetry.failures.labels(error.code)
            )
            if timeout_s is None:
                self._written = {key: written}
        written.counter.inc()
        return written.rejection

    def _find(self, path: str) -> _Target | None:
        """Find the model of a path with a name; None if there is none, which the route says."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        own, name, version = match.groups()
        try:
            if own is not None:
                return _Target(self._models.find(own), "/models/{name}/predict", True)
            classifier, suffix = resolve(self._models, name, version)
        except ModelNotFoundError:
            return None
        versions = "" if version is None else "/versions/{version}"
        return _Target(classifier, f"/v2/models/{{name}}{versions}/infer", suffix == FILES)
