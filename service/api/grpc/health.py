"""`grpc.health.v1.Health`, for gRPC probes of Kubernetes and for load balancers.

`Check` alone: clients that get `UNIMPLEMENTED` from `Watch` do without, as the protocol says. Its
two messages have one field each, and are on the wire what protobuf's own wrappers are: the package
grpcio-health-checking needs a newer protobuf than Triton's client allows.

Source:
    grpc/health/v1/health.proto.
"""

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from service.api.grpc.calls import Call
from service.api.grpc.messages import SERVICE
from service.api.grpc.wire import not_a_message
from service.api.state import ServiceState
from service.errors import NotFoundError

SERVING, NOT_SERVING = 1, 2
NAMES = ("", SERVICE)
"""Services that may be asked for: all of them, and the only one."""


class Health:
    """Answers health checks.

    Args:
        service: Of the application.
    """

    def __init__(self, service: ServiceState) -> None:
        self._service = service

    async def check(self, _: Call, message: bytes) -> bytes:
        """Serving until SIGTERM, unless an engine is stalled: as `/readyz`.

        Args:
            message: A serialised `HealthCheckRequest`.

        Returns:
            A serialised `HealthCheckResponse`.

        Raises:
            NotFoundError: If another service is asked for.
            MalformedRequestError: If the message cannot be parsed.
        """
        try:
            name = StringValue.FromString(message).value
        except DecodeError:
            raise not_a_message() from None
        if name not in NAMES:
            raise NotFoundError(f"There is no service {name[:100]!r}. Ask for {SERVICE!r} or ''.")
        status = SERVING if self._service.is_ready else NOT_SERVING
        response: bytes = Int32Value(value=status).SerializeToString()
        return response
