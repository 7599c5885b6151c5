"""What is kept of every request that was answered, over HTTP and gRPC: metrics and a log line."""

import itertools
import logging
import os
import re
from http import HTTPStatus
from typing import Any

from service.api.record import RequestRecord
from service.api.state import ServiceState
from service.log import log, log_request

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST"})
"""Methods of the routes; all others share one label, since clients may send any."""
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
QUIET_ROUTES = frozenset({"/livez", "/readyz", "/metrics", HEALTH_CHECK})
"""Polled every few seconds by machines: logged at debug level only."""


class RequestIds:
    """Gives each request an id: the client's if it is short and plain, else one of its own."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()  # differs for each process and start
        self._numbers = itertools.count()

    def choose(self, given: bytes) -> bytes:
        """Return the client's id, or a new one."""
        if given and REQUEST_ID.fullmatch(given):
            return bytes(given)
        return f"{self._prefix}-{next(self._numbers):x}".encode()


class Recorder:
    """Counts requests and logs them.

    Args:
        service: Has the metrics, and the settings of the log.
    """

    def __init__(self, service: ServiceState) -> None:
        self._telemetry = service.telemetry
        self._settings = service.settings
        self._logs_all = service.settings.access_log and service.settings.access_log_sample == 1
        self._unlogged = 0.0  # requests, by their share
        self._metric_children: dict[tuple[str, str, int], tuple[Any, Any]] = {}
        self._key_counters: dict[str, Any] = {}

    def record(
        self, route: str, method: str, status: int, seconds: float, record: RequestRecord
    ) -> None:
        """Count a request that has been answered, and log a line.

        Args:
            route: Its template.
            method: Of HTTP.
            status: Of HTTP.
            seconds: From its head to the end of its response.
            record: Filled in by the stages that it passed.
        """
        key = (route, method if method in METHODS else "other", status)
        children = self._metric_children.get(key)
        if children is None:
            children = self._telemetry.request_metrics(*key)
            self._metric_children[key] = children
        children[0].more += 1
        children[1].values.append(seconds)
        if record.key:
            counter = self._key_counters.get(record.key)
            if counter is None:
                counter = self._key_counters[record.key] = self._telemetry.key_counter(record.key)
            counter.more += 1
        level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
        if log.isEnabledFor(level) and (self._logs_all or self._is_logged(status)):
            log_request(
                level,
                {
                    "request_id": record.request_id,
                    "method": method[:16],
                    "path": record.path[:200],
                    "status": status,
                    "ms": round(1000 * seconds, 2),
                    **record.fields(),
                },
            )

    def _is_logged(self, status: int) -> bool:
        """Decide whether a request is a line in the log: every failure, and a share of the rest."""
        if not self._settings.access_log:
            return False
        if status >= HTTPStatus.BAD_REQUEST:
            return True
        self._unlogged += self._settings.access_log_sample
        if self._unlogged < 1:
            return False
        self._unlogged -= 1
        return True
