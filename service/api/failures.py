"""Any exception as a `ServiceError`, and what is noted of it; over HTTP and gRPC alike."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from service.api.record import RequestRecord
from service.errors import (
    HeadersTooLargeError,
    HttpVersionError,
    InferenceFailedError,
    InternalError,
    MalformedRequestError,
    OutOfMemoryError,
    OverloadedError,
    ServiceError,
    UnsupportedError,
)
from service.fault import Fault
from service.log import log
from service.memory import release_frames
from service.observability.metrics import Telemetry

NO_THREAD = "can't start new thread"
"""What `threading` raises where memory, or the system's number of threads, runs out."""

_OF_FAULT: Mapping[HTTPStatus, type[ServiceError]] = MappingProxyType(
    {
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: HeadersTooLargeError,
        HTTPStatus.NOT_IMPLEMENTED: UnsupportedError,
        HTTPStatus.SERVICE_UNAVAILABLE: OverloadedError,
        HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: HttpVersionError,
    }
)


def as_error(fault: Fault) -> ServiceError:
    """Return the `ServiceError` for what the server found wrong with a request."""
    retry_after_s = 1 if fault.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    kind = _OF_FAULT.get(fault.status, MalformedRequestError)
    return kind(fault.text, retry_after_s=retry_after_s)


def as_service_error(error: Exception) -> ServiceError:
    """Return the `ServiceError` for any exception: of the service, or a bug."""
    match error:
        case ServiceError():
            return error
        case MemoryError():
            return OutOfMemoryError()
        case RuntimeError() if str(error) == NO_THREAD:
            return OutOfMemoryError()
        case _:
            return InternalError()


def report(
    error: Exception, refusal: ServiceError, record: RequestRecord, telemetry: Telemetry
) -> None:
    """Log a failure of the service with its cause, count it, and note its code in the record.

    Args:
        error: What was raised.
        refusal: What the client gets.
        record: Of the request.
        telemetry: Counts failures.
    """
    if isinstance(refusal, InternalError | InferenceFailedError | OutOfMemoryError):
        fields = {"request_id": record.request_id, "detail": str(refusal)}
        has_more = error is not refusal or error.__cause__ is not None
        log.error(refusal.code, exc_info=error if has_more else None, extra={"fields": fields})
    release_frames(error)
    telemetry.failures.labels(refusal.code).inc()
    record.code = refusal.code
