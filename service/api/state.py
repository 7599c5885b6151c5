"""What all requests of one application share: the one typed object in `app.state`.

`service.api.middleware` puts it into the scope of each request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.types import Scope

from service.api.access.gate import Gate
from service.api.budget import BodyBudget
from service.observability.metrics import Telemetry
from service.registry.classifier import Classifier
from service.registry.control import ModelControl
from service.registry.registry import ModelRegistry
from service.settings import Settings

SERVICE = "resnet.service"
"""Where ASGI's scope has it."""


class OtherServer(Protocol):
    """A server beside that of HTTP."""

    async def start(self) -> None:
        """Listen."""

    def reload_certificates(self) -> None:
        """Read the files of certificates again, which have been checked."""

    async def drain(self, grace_s: float) -> None:
        """Accept no more, and answer what is in flight within so many seconds."""


@dataclass
class ServiceState:
    """The parts of a running service; the server reads `app.state.service`, too.

    Attributes:
        control: Changes which models are served.
        gate: Decides who may ask, and how much; None: everybody may.
        draining: After SIGTERM: requests are answered, but `/readyz` answers 503.
        grpc: Serves gRPC; None if the settings do not ask for it.
        refuse: Checks a plain POST request before it is begun (`service.api.head_check`); None if
            each needs the application.
    """

    settings: Settings
    models: ModelRegistry
    telemetry: Telemetry
    budget: BodyBudget
    control: ModelControl
    gate: Gate | None = None
    draining: bool = False
    grpc: OtherServer | None = None
    refuse: Callable[[Scope], tuple[bytes, bytes] | None] | None = None

    @property
    def is_stalled(self) -> bool:
        """Whether a model's engine is stalled."""
        return any(classifier.is_stalled for classifier in self.models.all())

    @property
    def is_ready(self) -> bool:
        """Whether requests may be sent here: until SIGTERM, unless an engine is stalled."""
        return not (self.draining or self.is_stalled)

    @property
    def is_behind(self) -> bool:
        """Whether to reload now, since another worker was asked to load or unload a model."""
        return self.control.is_behind

    def refresh(self) -> None:
        """Update the gauges."""
        self.telemetry.refresh(self.models)

    def reload_certificates(self) -> None:
        """Have the other server take new certificates, too."""
        if self.grpc is not None:
            self.grpc.reload_certificates()

    async def drain(self, grace_s: float) -> None:
        """End what the server of HTTP does not know of, within so many seconds."""
        if self.grpc is not None:
            await self.grpc.drain(grace_s)

    async def reload(self) -> None:
        """Read the keys again, and check for new versions of the models."""
        if self.gate is not None:
            self.gate.reload()
        await self.control.reload()


def service_of(request: Request) -> ServiceState:
    """Return the state of the application that handles a request."""
    service: ServiceState = request.scope[SERVICE]
    return service


def classifier_of(request: Request) -> Classifier:
    """Find the model, and the version of it, that a path names; else the default one.

    Raises:
        ModelNotFoundError: If there is none.
    """
    path = request.path_params
    return service_of(request).models.find(path.get("name"), path.get("version"))
