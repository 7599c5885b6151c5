"""The service with its gRPC port in this process, and Triton's client for it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

from tests.service.conftest import Serve, Service
from tests.service.images import WHITE
from tests.service.process import free_port

METHOD = "/inference.GRPCInferenceService/"


@dataclass(frozen=True)
class Asked:
    """A service, and two ways to ask it: Triton's client, and a bare channel."""

    service: Service
    client: InferenceServerClient
    channel: grpc.aio.Channel

    async def infer(self, count: int = 1, *, png: bytes = WHITE, **more: Any) -> Any:
        """Ask for images, white ones if no other is given."""
        return await self.client.infer("tiny-image", [repeated(png, count)], **more)

    def call(self, method: str = "ModelInfer", **more: Any) -> Any:
        """Begin a call whose message is not sent yet."""
        return self.channel.stream_unary(METHOD + method)(**more)

    def failures(self, code: str) -> float:
        count = self.service.app.state.service.telemetry.failures.labels(code)
        value: float = count._value.get()
        return value


AskedOf = Callable[..., Awaitable[Asked]]


def repeated(png: bytes, count: int) -> Any:
    images = InferInput("images", [count], "BYTES")
    images.set_data_from_numpy(np.array([png] * count, np.object_))
    return images


@pytest.fixture
async def asked(serve: Serve) -> AsyncIterator[AskedOf]:
    """Serve a hand-made model over gRPC, too."""
    async with AsyncExitStack() as stack:

        async def start(**changes: Any) -> Asked:
            port = free_port()
            service = await serve(grpc_port=port, **changes)
            client = await stack.enter_async_context(InferenceServerClient(f"127.0.0.1:{port}"))
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
            return Asked(service, client, await stack.enter_async_context(channel))

        yield start
