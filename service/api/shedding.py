"""Load shedding: refuse an inference request that would be too late, before its body is read.

Under overload most requests are refused, and those that are not pay for every refusal. So
`service.api.middleware` asks here first, for every inference route. What is let through is judged
once more when its images are known (`service.inference.admission`).
"""

import re
from typing import NamedTuple

from service.api.v2.names import FILES, resolve
from service.errors import ModelNotFoundError, ServiceError
from service.registry.registry import ModelRegistry

PREDICT = "/predict"
TIMEOUT_HEADER = "x-request-timeout-ms"
TIMEOUT = TIMEOUT_HEADER.encode()
_PATH = re.compile(r"/models/([^/]+)/predict|/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


class Rejection(NamedTuple):
    """Why a request is refused, and the template of its route."""

    error: ServiceError
    route: str


def shed(
    models: ModelRegistry, path: str, content_length: int, timeout_s: float
) -> Rejection | None:
    """Tell whether a request must be refused; None if it may go on, or is no inference request.

    Args:
        models: All that are served.
        path: Of a POST request, without the prefix of the application.
        content_length: Of its body; 0 if it did not say.
        timeout_s: The client's time limit; the service's own is the upper limit.
    """
    takes_files, route = True, PREDICT
    if path == PREDICT:
        classifier = models.find()
    elif (match := _PATH.fullmatch(path)) is not None:
        own, name, version = match.groups()
        try:
            if own is not None:
                classifier, route = models.find(own), "/models/{name}/predict"
            else:
                classifier, suffix = resolve(models, name, version)
                takes_files = suffix == FILES
                versions = "" if version is None else "/versions/{version}"
                route = f"/v2/models/{{name}}{versions}/infer"
        except ModelNotFoundError:
            return None  # the route says so
    else:
        return None
    verdict = classifier.verdict(content_length if takes_files else 0, timeout_s)
    return None if verdict is None else Rejection(verdict(), route)
