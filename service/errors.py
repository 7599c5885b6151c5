"""All errors of requests: a class with a stable code and a status each.

A `ServiceError` is handled only in `service.app`, which turns it into a problem document
(RFC 9457). Its message says what was seen, the rule, and the way out.

Errors:
    ServiceError
    ├── MalformedRequestError       400  the request breaks its own format
    ├── InvalidParameterError       400  a parameter is out of its bounds
    ├── UnauthorizedError           401  no valid API key
    ├── ForbiddenError              403  the key does not allow this
    ├── NotFoundError               404  no such route
    ├── ModelNotFoundError          404  no such model, or version of it
    ├── MethodNotAllowedError       405  the route answers to other methods
    ├── LoadRefusedError            409  a model cannot be loaded, or not unloaded
    ├── ClientDisconnectedError     400  the client has closed the connection
    ├── RequestTimeoutError         408  the body did not arrive in time
    ├── BodyTooLargeError           413  more bytes than the limit
    ├── TooManyImagesError          413  more images than the limit
    ├── ImageTooLargeError          413  more pixels, or a longer side, than the limit
    ├── UnsupportedMediaTypeError   415  a content type that no route reads
    ├── InvalidImageError           422  no readable image
    ├── RateLimitedError            429  more than one client may ask for
    ├── HeadersTooLargeError        431  too many bytes beside the body
    ├── InferenceFailedError        500  the engine failed, or its outputs are not finite
    ├── InternalError               500  a bug in the service
    ├── UnsupportedError            501  in the protocol, but not supported
    ├── NotReadyError               503  draining
    ├── EngineStalledError          503  a run of the engine does not end
    ├── OverloadedError             503  the queue is full
    ├── OutOfMemoryError            503  too little memory at the moment
    ├── DeadlineExceededError       504  no response within the deadline
    └── HttpVersionError            505  a version of HTTP other than 1.0 and 1.1
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import ClassVar


class ServiceError(Exception):
    """A request that fails; the message says why and what to do.

    Attributes:
        code: Stable name for clients.
        index: Of the image that is the cause, from 0; None if none is.
        retry_after_s: When to try again, in seconds; None if that would not help.
        headers: Further headers of the response.
    """

    code: ClassVar[str]
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, message: str, *, index: int | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.index = index
        self.retry_after_s = retry_after_s


class MalformedRequestError(ServiceError):
    """The request breaks its own format."""

    code = "malformed_request"


class InvalidParameterError(ServiceError):
    """A parameter is out of its bounds."""

    code = "invalid_parameter"


class UnauthorizedError(ServiceError):
    """The request has no valid API key."""

    code = "unauthorized"

    def __init__(self, message: str, *, is_invalid: bool = False) -> None:
        """Tell the client how to authenticate, and whether it tried to."""
        super().__init__(message)
        error = ', error="invalid_token"' if is_invalid else ""
        self.headers = {"WWW-Authenticate": f'Bearer realm="resnet-service"{error}'}


class ForbiddenError(ServiceError):
    """The API key does not have the scope that the route needs."""

    code = "forbidden"

    def __init__(self, scope: str, name: str) -> None:
        super().__init__(
            f"The key {name!r} lacks the scope `{scope}`, which this route needs. Use another key."
        )
        challenge = f'Bearer realm="resnet-service", error="insufficient_scope", scope="{scope}"'
        self.headers = {"WWW-Authenticate": challenge}


class NotFoundError(ServiceError):
    """There is no such route."""

    code = "not_found"


class ModelNotFoundError(ServiceError):
    """There is no such model, or no such version of it."""

    code = "model_not_found"


class MethodNotAllowedError(ServiceError):
    """The route answers to other methods."""

    code = "method_not_allowed"


class LoadRefusedError(ServiceError):
    """A model cannot be loaded, or not unloaded; what was served is served. For admins alone."""

    code = "load_refused"


class ClientDisconnectedError(ServiceError):
    """The client has closed the connection; the status is only logged and counted."""

    code = "client_disconnected"


class RequestTimeoutError(ServiceError):
    """The body did not arrive in time."""

    code = "request_timeout"


class BodyTooLargeError(ServiceError):
    """The body has more bytes than the limit."""

    code = "body_too_large"

    def __init__(self, limit: int, hint: str = "") -> None:
        super().__init__(
            f"The body has more than {limit:,} bytes. Send fewer or smaller images, "
            f"or raise RESNET_MAX_BODY_BYTES. {hint}".rstrip()
        )


class TooManyImagesError(ServiceError):
    """The request has more images than the limit."""

    code = "too_many_images"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request has more than {limit:,} images. Send several requests, or "
            "raise RESNET_MAX_IMAGES."
        )


class ImageTooLargeError(ServiceError):
    """The image has more pixels, or a longer side, than the service will decode."""

    code = "image_too_large"


class UnsupportedMediaTypeError(ServiceError):
    """The route does not read this content type, or this content encoding."""

    code = "unsupported_media_type"

    def __init__(self, message: str, *, accept_encoding: str | None = None) -> None:
        """Name the supported encodings, if that is the cause (RFC 9110, section 15.5.16)."""
        super().__init__(message)
        if accept_encoding is not None:
            self.headers = {"Accept-Encoding": accept_encoding}


class InvalidImageError(ServiceError):
    """The bytes are not an image that the service can read."""

    code = "invalid_image"


class RateLimitedError(ServiceError):
    """The client asks for more than one client may."""

    code = "rate_limited"

    def __init__(
        self,
        message: str,
        retry_after_s: int,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.headers = headers


class HeadersTooLargeError(ServiceError):
    """The request has too many bytes beside its body, or too many header fields."""

    code = "headers_too_large"


class InferenceFailedError(ServiceError):
    """The engine failed, or its outputs are not finite."""

    code = "inference_failed"


class InternalError(ServiceError):
    """A bug in the service; the log has the details."""

    code = "internal_error"

    def __init__(self) -> None:
        """Give no details: the cause may contain data of other clients."""
        super().__init__(
            "An internal error of the service; your request was not the cause. The log has details."
        )


class UnsupportedError(ServiceError):
    """A part of a protocol that the service does not support."""

    code = "unsupported"


class NotReadyError(ServiceError):
    """The service is shutting down."""

    code = "not_ready"

    def __init__(self, message: str) -> None:
        """Have the client try again at once: another process answers."""
        super().__init__(message, retry_after_s=1)


class EngineStalledError(ServiceError):
    """A run of the engine does not end: the process has to be restarted."""

    code = "engine_stalled"


class OverloadedError(ServiceError):
    """The queue is full."""

    code = "overloaded"


class OutOfMemoryError(ServiceError):
    """The process has too little memory, or can start no thread, at the moment."""

    code = "out_of_memory"

    def __init__(self) -> None:
        """Have the client try again when other requests have been answered."""
        super().__init__(
            "The service has too little memory at the moment. Try again in 1 s, or "
            "send fewer or smaller images.",
            retry_after_s=1,
        )


class DeadlineExceededError(ServiceError):
    """There was no response within the deadline."""

    code = "deadline_exceeded"


class HttpVersionError(ServiceError):
    """The request has a version of HTTP other than 1.0 and 1.1."""

    code = "http_version_not_supported"


STATUS: Mapping[type[ServiceError], HTTPStatus] = MappingProxyType(
    {
        MalformedRequestError: HTTPStatus.BAD_REQUEST,
        InvalidParameterError: HTTPStatus.BAD_REQUEST,
        UnauthorizedError: HTTPStatus.UNAUTHORIZED,
        ForbiddenError: HTTPStatus.FORBIDDEN,
        NotFoundError: HTTPStatus.NOT_FOUND,
        ModelNotFoundError: HTTPStatus.NOT_FOUND,
        MethodNotAllowedError: HTTPStatus.METHOD_NOT_ALLOWED,
        LoadRefusedError: HTTPStatus.CONFLICT,
        ClientDisconnectedError: HTTPStatus.BAD_REQUEST,
        RequestTimeoutError: HTTPStatus.REQUEST_TIMEOUT,
        BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        TooManyImagesError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ImageTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        UnsupportedMediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        InvalidImageError: HTTPStatus.UNPROCESSABLE_ENTITY,
        RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
        HeadersTooLargeError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        InferenceFailedError: HTTPStatus.INTERNAL_SERVER_ERROR,
        InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
        UnsupportedError: HTTPStatus.NOT_IMPLEMENTED,
        NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
        EngineStalledError: HTTPStatus.SERVICE_UNAVAILABLE,
        OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
        OutOfMemoryError: HTTPStatus.SERVICE_UNAVAILABLE,
        DeadlineExceededError: HTTPStatus.GATEWAY_TIMEOUT,
        HttpVersionError: HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    }
)


class StartError(Exception):
    """The service cannot start; the message is one line that says why."""
