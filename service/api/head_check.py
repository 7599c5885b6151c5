"""Decide by a request's head whether it may continue: its key, its client's limits, then the load.

`service.api.middleware` asks for each request. The server asks for plain POST requests even before
it makes a task for one: in an overload most requests end there, for a third of the time.
"""

import time
from typing import NamedTuple

from starlette.types import Scope

from service.api.failures import as_error
from service.api.record import RECORD, RequestRecord
from service.api.recorder import Recorder, RequestIds
from service.api.rejection import Rejection
from service.api.shedding import LoadShedder
from service.api.state import ServiceState
from service.fault import FAULT

CHECKED = "resnet.checked"
"""Where ASGI's scope has it if the server has asked already, and the request was not rejected."""


class Checked(NamedTuple):
    """A request whose head has been checked.

    Attributes:
        error: What is wrong with it; the application's error handlers answer.
    """

    error: Exception | None = None


PASSED = Checked()


class HeadCheck:
    """Checks heads, and writes what is recorded of every request.

    Args:
        service: Has keys, limits and models.
    """

    def __init__(self, service: ServiceState) -> None:
        self._service = service
        self._ids = RequestIds()
        self._shedder = LoadShedder(service.models, service.telemetry)
        self.recorder = Recorder(service)

    def begin(self, scope: Scope) -> RequestRecord:
        """Make the record of a request, with an id, and put it into the scope."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        headers = dict(scope["headers"])  # names in lower case; of repeated ones the last
        request_id = self._ids.choose(headers.get(b"x-request-id", b""))
        client = scope.get("client")
        record = RequestRecord(request_id.decode(), path, client[0] if client else "", headers)
        scope[RECORD] = record
        return record

    def check(self, scope: Scope, record: RequestRecord) -> Rejection | None:
        """Return how to reject a request; None if it may continue.

        Raises:
            ServiceError: If its key or host is not accepted, or the server found it wrong.
        """
        checked: Checked | None = scope.get(CHECKED)
        if checked is None:
            return self._check(scope, record)
        if checked.error is not None:
            raise checked.error
        if FAULT in scope:
            raise as_error(scope[FAULT])
        return None

    def refuse(self, scope: Scope) -> tuple[bytes, bytes] | None:
        """Check a plain POST request before it is begun.

        Args:
            scope: ASGI's, as far as the server has it: without raw path and query.

        Returns:
            Status line, and the rest of the response, if it is rejected: then all is done. None if
            the application answers.
        """
        if self._service.draining:  # a response says that the connection closes
            return None
        began, record = time.perf_counter(), self.begin(scope)
        try:
            rejection = self._check(scope, record, is_early=True)
        except Exception as error:  # noqa: BLE001  # raised again by `check`
            scope[CHECKED] = Checked(error)
            return None
        if rejection is None:
            scope[CHECKED] = PASSED
            return None
        record.status, record.code = rejection.status, rejection.code
        line, rest, record.bytes_out = rejection.render(record.request_id.encode())
        seconds = time.perf_counter() - began
        self.recorder.record(rejection.route, "POST", rejection.status, seconds, record)
        return line, rest

    def _check(
        self, scope: Scope, record: RequestRecord, *, is_early: bool = False
    ) -> Rejection | None:
        gate = self._service.gate
        rejection = None if gate is None else gate.check(scope, record)
        if rejection is not None:
            self._service.telemetry.failures.labels(rejection.code).inc()
        elif FAULT in scope:
            raise as_error(scope[FAULT])
        elif scope["method"] == "POST":
            rejection = self._shedder.check(record.path, record.headers, is_early=is_early)
        return rejection
