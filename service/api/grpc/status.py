"""The gRPC status of each error, and the metadata that goes with it."""

from collections.abc import Mapping
from types import MappingProxyType

from grpc import StatusCode

from service import errors
from service.api.problems import text_v2
from service.errors import ServiceError

MAX_DETAILS = 2000
"""Characters of a status' text; clients take 8 KB of metadata in all."""

CODES: Mapping[type[ServiceError], StatusCode] = MappingProxyType(
    {
        errors.MalformedRequestError: StatusCode.INVALID_ARGUMENT,
        errors.InvalidParameterError: StatusCode.INVALID_ARGUMENT,
        errors.UnauthorizedError: StatusCode.UNAUTHENTICATED,
        errors.ForbiddenError: StatusCode.PERMISSION_DENIED,
        errors.NotFoundError: StatusCode.NOT_FOUND,
        errors.ModelNotFoundError: StatusCode.NOT_FOUND,
        errors.MethodNotAllowedError: StatusCode.UNIMPLEMENTED,
        errors.LoadRefusedError: StatusCode.FAILED_PRECONDITION,
        errors.ClientDisconnectedError: StatusCode.CANCELLED,
        errors.RequestTimeoutError: StatusCode.DEADLINE_EXCEEDED,
        errors.BodyTooLargeError: StatusCode.RESOURCE_EXHAUSTED,  # as gRPC itself answers
        errors.TooManyImagesError: StatusCode.INVALID_ARGUMENT,
        errors.ImageTooLargeError: StatusCode.INVALID_ARGUMENT,
        errors.UnsupportedMediaTypeError: StatusCode.INVALID_ARGUMENT,
        errors.InvalidImageError: StatusCode.INVALID_ARGUMENT,
        errors.RateLimitedError: StatusCode.RESOURCE_EXHAUSTED,
        errors.HeadersTooLargeError: StatusCode.RESOURCE_EXHAUSTED,
        errors.InferenceFailedError: StatusCode.INTERNAL,
        errors.InternalError: StatusCode.INTERNAL,
        errors.UnsupportedError: StatusCode.UNIMPLEMENTED,
        errors.NotReadyError: StatusCode.UNAVAILABLE,
        errors.EngineStalledError: StatusCode.UNAVAILABLE,
        errors.OverloadedError: StatusCode.UNAVAILABLE,
        errors.OutOfMemoryError: StatusCode.UNAVAILABLE,
        errors.DeadlineExceededError: StatusCode.DEADLINE_EXCEEDED,
        errors.HttpVersionError: StatusCode.UNIMPLEMENTED,
    }
)


def details(error: ServiceError) -> str:
    """Write the text of a status, the same as over REST."""
    return text_v2(error)[:MAX_DETAILS]


def trailers(error: ServiceError) -> tuple[tuple[str, str], ...]:
    """List the metadata of an error: the headers that it has over REST.

    `grpc-retry-pushback-ms` is what clients with a retry policy read.
    """
    found = [(name.lower(), value) for name, value in error.headers.items()]
    if error.retry_after_s is not None:
        found.append(("retry-after", str(error.retry_after_s)))
        found.append(("grpc-retry-pushback-ms", str(1000 * error.retry_after_s)))
    return tuple(found)
