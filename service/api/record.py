"""What the log line of a request says beside its path and status."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.types import Scope

from service.api.access.limits import Client
from service.postprocessing.schemas import ModelInfo
from service.registry.outcome import Outcome, Timings

NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
RECORD = "resnet.record"
"""Where ASGI's scope has it; `service.api.middleware` makes one for each request."""


class RequestRecord:
    """Filled in by the stages that the request passes.

    Args:
        request_id: As in the response's header.
        path: Without the prefix of the application.
        client: Address that the request came from; empty if unknown.
        headers: Of the request; names in lower case.

    Attributes:
        key: Name of the API key; empty without one.
        is_admin: Whether that key has the scope `admin`.
        usage: What the client has asked for lately; None if there are no limits.
        in_flight: Images that are counted for that client.
        model: Name and version of the model that answered; empty if no image was classified.
        images: How many were classified.
        batch_size: Of the largest batch with one of them.
        timings: Of the stages.
        bytes_in: Of the body, as it was sent.
        code: Of the problem, if the request failed.
        bytes_out: Of the response's body.
        status: Of the response; 0 before it has begun.
    """

    __slots__ = (
        "batch_size",
        "bytes_in",
        "bytes_out",
        "client",
        "code",
        "headers",
        "images",
        "in_flight",
        "is_admin",
        "key",
        "model",
        "path",
        "request_id",
        "status",
        "timings",
        "usage",
    )

    def __init__(
        self, request_id: str, path: str, client: str, headers: Mapping[bytes, bytes] = NO_HEADERS
    ) -> None:
        self.headers = headers
        self.request_id, self.path, self.client = request_id, path, client
        self.key = self.model = self.code = ""
        self.is_admin = False
        self.usage: Client | None = None
        self.timings: Timings | None = None
        self.in_flight = 0
        self.images = self.batch_size = self.bytes_in = self.bytes_out = self.status = 0

    def answered(self, model: ModelInfo, outcome: Outcome) -> None:
        """Note which model classified how many images, and how long it took."""
        self.model = f"{model.name}/{model.version}"
        self.images, self.batch_size = len(outcome.outputs), outcome.batch_size
        self.timings = outcome.timings

    def begin_images(self, count: int) -> None:
        """Count images for their client until the end of the request.

        Raises:
            RateLimitedError: If the client has too many in flight.
        """
        if self.usage is not None:
            self.usage.begin(count)
            self.in_flight = count

    def end(self) -> None:
        """Count the images for their client no longer; the request has ended."""
        if self.usage is not None:
            self.usage.end(self.in_flight, self.bytes_in if self.code else 0)
            self.usage = None

    def fields(self) -> dict[str, str | int | float]:
        """Return what is known, by name; times in milliseconds."""
        found: dict[str, str | int | float] = {}
        if self.client:
            found["client"] = self.client
        if self.key:
            found["key"] = self.key
        if self.timings is not None:
            decode, preprocess, queue, infer = self.timings
            found |= {
                "model": self.model,
                "images": self.images,
                "batch_size": self.batch_size,
                "decode_ms": round(1000 * decode, 2),
                "preprocess_ms": round(1000 * preprocess, 2),
                "queue_ms": round(1000 * queue, 2),
                "infer_ms": round(1000 * infer, 2),
            }
        if self.code:
            found["code"] = self.code
        found["bytes_in"], found["bytes_out"] = self.bytes_in, self.bytes_out
        return found


def record_of(scope: Scope) -> RequestRecord:
    """Return the record of a request."""
    record: RequestRecord = scope[RECORD]
    return record
