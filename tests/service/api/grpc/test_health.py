"""gRPC's own health checks, as Kubernetes and load balancers send them."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from tests.service.api.access.conftest import keys
from tests.service.api.grpc.conftest import Asked, AskedOf

pytestmark = pytest.mark.anyio
__all__ = ["keys"]
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""`HealthCheckResponse` of health.proto: field 1, an enum."""


def check(asked: Asked, service: bytes = b"", method: str = "Check") -> Any:
    """Send a `HealthCheckRequest`: field 1, a string, left out if it is empty."""
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    return asked.channel.unary_unary(f"/grpc.health.v1.Health/{method}")(request, timeout=5)


@pytest.mark.parametrize("name", [b"", b"inference.GRPCInferenceService"])
async def test_a_probe_needs_no_key_and_sees_the_end_come(
    asked: AskedOf, keys: Path, name: bytes
) -> None:
    service = await asked(api_keys_file=keys, client_requests_s=0.1)

    before = [await check(service, name) for _ in range(2)]  # more than the limit of a client
    service.service.app.state.service.draining = True

    assert before == [SERVING, SERVING]
    assert await check(service, name) == NOT_SERVING


@pytest.mark.parametrize(
    ("name", "method", "status"),
    [
        (b"inference.Nothing", "Check", StatusCode.NOT_FOUND),
        (b"\xff", "Check", StatusCode.INVALID_ARGUMENT),  # no UTF-8
        (b"", "Watch", StatusCode.UNIMPLEMENTED),
    ],
)
async def test_what_is_not_served_has_the_status_of_the_protocol(
    asked: AskedOf, name: bytes, method: str, status: StatusCode
) -> None:
    service = await asked()

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await check(service, name, method)

    assert refused.value.code() is status
