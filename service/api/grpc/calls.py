"""Around every call: its key and limits, its message, metrics, a log line, and its status.

What `service.api.middleware` is to HTTP. A call is judged by its metadata before its message is
received: every method is served as one whose requests are a stream, which is the same on the wire,
and has the message read when the method asks for it.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import grpc
from starlette.types import Scope

from service.api.access.proxies import TrustedProxies
from service.api.failures import as_service_error, report
from service.api.grpc.receiving import Receiver
from service.api.grpc.status import CODES, details, trailers
from service.api.record import RequestRecord
from service.api.recorder import HEALTH_CHECK, Recorder, RequestIds
from service.api.state import ServiceState
from service.cancellation import Disconnect
from service.errors import STATUS, ClientDisconnectedError, DeadlineExceededError, ServiceError

INFER = "ModelInfer"
PROBES_AT_ONCE = 8
"""Health checks whose messages may arrive at once: they are empty, and need no key."""


class Call:
    """One call.

    Args:
        context: gRPC's.
        record: What is logged of it.
        scope: Its head as ASGI has it.

    Attributes:
        disconnect: Called when the client has gone, or its deadline has passed.
        trailers: Metadata of the answer.
    """

    __slots__ = ("context", "disconnect", "record", "scope", "trailers")

    def __init__(self, context: Any, record: RequestRecord, scope: Scope) -> None:
        self.context, self.record, self.scope = context, record, scope
        self.disconnect = Disconnect()
        self.trailers: tuple[tuple[str, str], ...] = (("x-request-id", record.request_id),)

    @property
    def timeout_s(self) -> float:
        """Seconds until the client's deadline; infinite without one."""
        remaining_s: float | None = self.context.time_remaining()
        return math.inf if remaining_s is None else remaining_s


Answer = Callable[[Call, bytes], Awaitable[bytes]]
"""A call and its message -> the message of the response."""


class Calls:
    """Makes the handlers of methods.

    Args:
        service: Of the application.
    """

    def __init__(self, service: ServiceState) -> None:
        self._service = service
        self._proxies = TrustedProxies(service.settings.trusted_proxies)
        settings = service.settings
        at_once = settings.max_buffered_bytes // settings.max_body_bytes
        self._receiver = Receiver(settings, at_once)
        self._probes = Receiver(settings, PROBES_AT_ONCE)
        self._recorder = Recorder(service)
        self._ids = RequestIds()
        self._released: asyncio.Event | None = None

    def hold(self) -> None:
        """Have new calls wait until `release`."""
        self._released = asyncio.Event()

    def release(self) -> None:
        """Go on with the calls that wait."""
        if self._released is not None:
            self._released.set()

    def handler(self, path: str, answer: Answer) -> Any:
        """Make the handler of a method, such as `/package.Service/Method`."""

        async def handle(_: Any, context: Any) -> bytes:
            began = time.perf_counter()
            call = self._open(path, context)
            status, refusal = HTTPStatus.OK, None
            try:
                if self._released is not None:
                    await self._released.wait()
                self._admit(call)
                response = await answer(call, await self._receive(call))
                call.record.bytes_out = len(response)
                context.set_trailing_metadata(call.trailers)
                return response
            except asyncio.CancelledError:
                status = self._cancelled(call)
                raise
            except Exception as error:  # noqa: BLE001  # whatever it was, the client gets a status
                refusal = as_service_error(error)
                status = STATUS[type(refusal)]
                report(error, refusal, call.record, self._service.telemetry)
            finally:
                call.record.end()
                seconds = time.perf_counter() - began
                self._recorder.record(path, "POST", status, seconds, call.record)
            await _abort(call, refusal)
            return b""

        return grpc.stream_unary_rpc_method_handler(handle)

    def _open(self, path: str, context: Any) -> Call:
        """Read the metadata of a call."""
        headers = [
            (name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in context.invocation_metadata()
        ]
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST" if path.endswith(INFER) else "GET",  # decides the scope of its key
            "path": path,
            "headers": headers,
            "client": read_peer(context.peer()),
        }
        self._proxies.correct(scope)
        client = scope["client"]
        request_id = self._ids.choose(dict(headers).get(b"x-request-id", b"")).decode()
        return Call(context, RequestRecord(request_id, path, client[0] if client else ""), scope)

    def _admit(self, call: Call) -> None:
        """Judge a call by its key, its client's limits, and the load of the service.

        Which model it asks for is in its message. So it is refused here only if every model would
        refuse it. Probes are not judged, as over HTTP.
        """
        if call.record.path == HEALTH_CHECK:
            return
        if self._service.gate is not None:
            self._service.gate.admit(call.scope, call.record)
        if call.scope["method"] == "POST":
            timeout_s = min(call.timeout_s, self._service.settings.deadline_s)
            verdicts = [each.admission.verdict(1, timeout_s) for each in self._service.models.all()]
            if verdicts and all(verdicts) and (first := verdicts[0]) is not None:
                raise first()

    async def _receive(self, call: Call) -> bytes:
        is_probe = call.record.path == HEALTH_CHECK
        message = await (self._probes if is_probe else self._receiver).receive(call.context)
        call.record.bytes_in = len(message)
        return message

    def _cancelled(self, call: Call) -> HTTPStatus:
        """Stop the work on a call that nobody waits for."""
        call.disconnect()
        kind = ClientDisconnectedError if call.timeout_s else DeadlineExceededError
        call.record.code = kind.code
        self._service.telemetry.failures.labels(kind.code).inc()
        return STATUS[kind]


def read_peer(peer: str) -> tuple[str, int] | None:
    """Read gRPC's name of a client, such as `ipv4:127.0.0.1:4711`; None if it has no address."""
    kind, _, address = peer.partition(":")
    host, _, port = unquote(address).rpartition(":")
    if kind not in {"ipv4", "ipv6"} or not port.isdigit():
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


async def _abort(call: Call, refusal: ServiceError | None) -> None:
    """End a call with the status of an error."""
    if refusal is not None:
        code, metadata = CODES[type(refusal)], (*call.trailers, *trailers(refusal))
        await call.context.abort(code, details(refusal), metadata)
