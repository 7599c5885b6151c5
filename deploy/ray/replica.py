"""One copy of the service inside another program's process: settings, life, health, figures.

`deploy.ray.app` makes a Ray Serve replica of it. Nothing here knows Ray: such a process has no
`service.server`, so what that server does beside HTTP is done here. No signal handlers are set:
application code does not run on the main thread there.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.state import ServiceState
from service.app import create_app
from service.cancellation import DISCONNECT, Disconnect
from service.cpus import usable_cores
from service.errors import EngineStalledError, StartError
from service.log import LogThrottle, log, set_up_logging
from service.memory import freeze_gc
from service.observability.tracing import start_tracing
from service.settings import PREFIX, Settings, read_settings

TICK_S = 0.5
REQUEST_ID = b"x-request-id"
OF_THE_SERVER = frozenset(
    {"host", "port", "uds", "metrics_port", "grpc_port", "tls_cert", "tls_key", "tls_client_ca"}
    | {"max_connections", "keep_alive_timeout_s", "header_timeout_s", "write_timeout_s"}
    | {"drain_delay_s", "workers"}
)
"""Settings of sockets and processes: here the engine owns those, and has settings of its own."""


def read_replica_settings(given: Mapping[str, Any], cores: float | None = None) -> Settings:
    """Read the settings of a replica: those given, else the environment's.

    Args:
        given: Settings by name.
        cores: That the replica may use, rounded up; None: not known yet.

    Raises:
        StartError: If a name is unknown, a value is not allowed, or the setting has no effect here.
    """
    if unknown := sorted(set(given) - Settings.model_fields.keys()):
        raise StartError(f"{unknown[0]!r} is not a setting. docs/settings.md lists all.")
    settings = read_settings(**given)
    if useless := sorted(settings.model_fields_set & OF_THE_SERVER):
        raise StartError(
            f"{PREFIX}{useless[0].upper()} has no effect in a replica: its engine owns sockets and "
            "processes. Leave it out, and see docs/ray.md for the engine's own setting."
        )
    if cores is None:
        return settings
    # as one of several workers, which share the cores of this machine evenly
    sharing = max(1, usable_cores() // max(1, round(cores)))
    return settings.model_copy(update={"workers": sharing})


class ReplicaLife:
    """The application of a replica, and what `service.server` would do for it.

    Args:
        settings: Of `read_replica_settings`.
        on_tick: Called twice a second, on the event loop, while the application runs.

    Raises:
        StartError: If the default model cannot be served.
    """

    def __init__(
        self, settings: Settings, on_tick: Callable[[ServiceState], None] = lambda _: None
    ) -> None:
        set_up_logging(settings.log_level, settings.log_format)
        self._on_tick = on_tick
        self._failed = LogThrottle()
        self.app: FastAPI = create_app(settings, start_tracing())
        self.service: ServiceState = self.app.state.service
        self._lifespan = self.app.router.lifespan_context
        self.app.router.lifespan_context = self._with_ticks
        self.app.add_middleware(Hosted)
        freeze_gc()

    @property
    def images_in_flight(self) -> int:
        """Images that were admitted and are not answered yet."""
        return sum(classifier.in_flight for classifier in self.service.models.all())

    def check_health(self) -> None:
        """Do nothing if the replica works.

        Raises:
            EngineStalledError: If a run of the engine does not end.
        """
        if self.service.is_stalled:
            raise EngineStalledError("A run of the engine does not end. Start the replica anew.")

    @asynccontextmanager
    async def _with_ticks(self, app: FastAPI) -> AsyncIterator[None]:
        """Start and stop the application, and tick in between."""
        async with self._lifespan(app):
            ticks = asyncio.create_task(self._tick(), name="ticks")
            try:
                yield
            finally:
                self.service.draining = True
                ticks.cancel()
                with suppress(asyncio.CancelledError):
                    await ticks

    async def _tick(self) -> None:
        """Refresh the gauges, and check for new versions when it is time."""
        every_s = self.service.settings.reload_interval_s
        reload_at = time.monotonic() + every_s
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.service.refresh()
                self._on_tick(self.service)
                if every_s and time.monotonic() >= reload_at:
                    await self.service.reload()
                    reload_at = time.monotonic() + every_s
            except Exception:  # noqa: BLE001  # as in `service.server`: requests are answered anyway
                if (times := self._failed.count()) is not None:
                    log.exception("periodic check failed", extra={"fields": {"times": times}})


class Hosted:
    """ASGI middleware for a server that is not ours.

    That server cancels the task of a request whose client has disconnected; the service is told,
    so that the images leave the queue and the log has the reason. It also adds its own
    `x-request-id`, the same as ours; ours is left out.

    Args:
        app: The service.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on in a task of its own, which is not cancelled."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        known = {value for name, value in scope["headers"] if name == REQUEST_ID}

        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    each
                    for each in message["headers"]
                    if each[0] != REQUEST_ID or each[1] not in known
                ]
            await send(message)

        request = asyncio.ensure_future(self.app(scope, receive, send_without_id))
        try:
            await asyncio.shield(request)
        except asyncio.CancelledError:
            notify = scope.get(DISCONNECT)
            if isinstance(notify, Disconnect):
                notify()
            else:
                request.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await request
            raise
