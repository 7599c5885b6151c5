"""uvicorn's server, with our limits on clients, and with a shutdown that loses no request."""

import asyncio
import functools
import math
import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

import uvicorn

from service.cpus import usable_cores
from service.log import LogThrottle, log
from service.server.accepting import Listener
from service.server.certificates import Certificates
from service.server.connections import Connections, Limits, limits, raise_file_limit
from service.server.protocol import KEEPALIVE_GRACE_S, HttpProtocol
from service.server.shutdown import MAX_EXIT_S, exit_within, with_time_limit
from service.server.tls import TlsConnection
from service.settings import STALL_TIMEOUT_S, Settings
from service.threads import started_pool

DRAIN_POLL_S = 0.02
"""Between two polls for new connections, and for requests on recently active ones."""
DRAIN_POLLS = range(round(KEEPALIVE_GRACE_S / DRAIN_POLL_S))
MIN_DRAIN_POLLS = 10
"""Even with no connection: a handshake may be completed only after 0.2 s, by the first bytes."""


def configure(settings: Settings, app: Any, **more: Any) -> uvicorn.Config:
    """Configure uvicorn for an application, or for the path of a function that makes one."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # a deadline counts from the end of the body, which has a timeout of its own
        timeout_graceful_shutdown=math.ceil(settings.body_timeout_s + settings.deadline_s) + 1,
        timeout_keep_alive=settings.keep_alive_timeout_s,  # type: ignore[arg-type]  # as asyncio's
        **more,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which drains: not ready at once, ended when all is answered, exit code 0.

    Args:
        config: uvicorn's.
        owns_port: No other process listens on it.
    """

    def __init__(self, config: uvicorn.Config, *, owns_port: bool = False) -> None:
        super().__init__(config)
        self.server_state: Connections = Connections(Limits())
        self._owns_port = owns_port
        self._tick_failed = LogThrottle()
        self._listeners: list[Listener] = []
        self._certificates: Certificates | None = None
        self._is_main = self._is_over = False
        self._exit_at: float | None = None
        self._unlogged_delay_s: float | None = None
        self._next_reload_at = 0.0
        self._ticked_at: float | None = None
        self._reload: asyncio.Task[None] | None = None
        self._parent = os.getppid()

    @property
    def state(self) -> Any:  # Starlette's State takes any attribute
        """The application's state: the only place that knows where it is."""
        app = self.config.loaded_app
        while not hasattr(app, "state"):  # uvicorn wraps it for proxies' headers
            app = app.app
        return app.state.service

    @property
    def is_stalled(self) -> bool:
        """Whether the event loop, or a run of the engine, has not moved for too long.

        Thread-safe. A server that has not started yet, or that is exiting, is not stalled.
        """
        if self._ticked_at is None or self.should_exit:
            return False
        loop_stalled = time.monotonic() - self._ticked_at > STALL_TIMEOUT_S
        return loop_stalled or self.state.is_stalled

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain on SIGTERM; exit at once on Ctrl+C. A second signal changes nothing.

        uvicorn's own handler would raise the signal again at the end: an exit code of 143.
        Nothing here may wait for a lock, such as the log's: the signal may have come while this
        thread held it.
        """
        if not self.config.loaded:  # no application yet, and no client
            self.should_exit = True
        elif self._exit_at is None:
            delay_s = self.state.settings.drain_delay_s if sig == signal.SIGTERM else 0
            self._exit_at = time.monotonic() + delay_s
            self._unlogged_delay_s = delay_s
            self.state.draining = True
            if self._is_main:  # even if the event loop stalls from now on
                answers_s = self.config.timeout_graceful_shutdown or 0
                exit_within(delay_s + answers_s + 2 * MAX_EXIT_S, 1)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end; what fails after the last response is only logged.

        Closing the event loop starts a thread, for which there may be no memory.
        """
        try:
            super().run(sockets)
        except Exception:
            if not self._is_over:
                raise
            log.warning("ended without cleaning up everything", exc_info=True)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: check for the exit, refresh gauges, reload models when it is time.

        What fails here, for lack of memory or of open files, must not end the server.
        """
        self._ticked_at = time.monotonic()
        for step in (self._check_exit, self.state.refresh, self._reload_if_due):
            try:
                step()
            except Exception:  # noqa: BLE001  # that is the point
                if (times := self._tick_failed.count()) is not None:
                    fields = {"step": step.__name__, "times": times}
                    log.exception("periodic check failed", extra={"fields": fields})
        try:
            return await super().on_tick(counter)
        except MemoryError:
            return self.should_exit

    def _check_exit(self) -> None:
        """Drain if the supervisor was killed; exit when it is time."""
        if self._exit_at is not None and time.monotonic() >= self._exit_at:
            self.should_exit = True
        if not self._owns_port and os.getppid() != self._parent:
            self.handle_exit(signal.SIGTERM, None)
        if self._unlogged_delay_s is not None:
            delay_s, self._unlogged_delay_s = self._unlogged_delay_s, None
            log.info("draining", extra={"fields": {"seconds": delay_s}})

    def _reload_if_due(self) -> None:
        """Check for new versions periodically, and where another worker was asked to change them.

        One check at a time.
        """
        every_s = self.state.settings.reload_interval_s
        is_due = every_s > 0 and time.monotonic() >= self._next_reload_at
        is_due = is_due or self.state.is_behind
        if is_due and (self._reload is None or self._reload.done()):
            self.reload()

    def reload(self) -> None:
        """Check for new versions while requests are served; not while draining."""
        if self._exit_at is not None:
            return
        self._next_reload_at = time.monotonic() + (
            self.state.settings.reload_interval_s or math.inf
        )
        self._reload = asyncio.get_running_loop().create_task(self.state.reload())
        self._reload.add_done_callback(_log_failure)

    def reload_all(self) -> None:
        """Read certificates and keys again, and check for new versions."""
        if self._certificates is not None and self._certificates.reload():
            self.state.reload_certificates()
        self.reload()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and handle SIGHUP from now on.

        A process that was stopped while its model was loaded does not start to listen.
        """
        if self.should_exit:
            return
        self._is_main = threading.current_thread() is threading.main_thread()
        usable = usable_cores(at_most=self.state.settings.max_cores)
        count = max(1, usable // self.config.workers) + 4
        asyncio.get_running_loop().set_default_executor(started_pool(count, "other"))
        self.server_state = Connections(limits(self.state.settings, raise_file_limit()))
        self.server_state.refuse = self.state.refuse
        clients = self._protocol
        if self.state.settings.tls_cert is not None:
            self._certificates = Certificates(self.state.settings)
            clients = functools.partial(self._tls, self._certificates)
        self._listeners = [
            Listener(sock, protocol, owns_port=self._owns_port)
            for sock, protocol in zip(sockets or [], (clients, self._protocol), strict=False)
        ]
        await super().startup([])
        for listener in self._listeners:
            self.servers += await listener.start(self.config.backlog)
        log.info("listening", extra={"fields": {"at": list(map(str, self._listeners))}})
        if self._is_main:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload_all)
        self._next_reload_at = time.monotonic() + (
            self.state.settings.reload_interval_s or math.inf
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port without losing pending connections, then let uvicorn finish.

        Closing a listening socket resets the connections that the kernel completed and no process
        accepted; uvicorn then closes idle ones with their request still unread. So the pending
        ones are accepted here, and all get a moment for their bytes to be read.
        """
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        for listener in self._listeners:
            listener.stop()
        await self._drain_backlog()
        for listener in self._listeners:
            listener.close()
        await self.state.drain(float(self.config.timeout_graceful_shutdown or 0))
        self.lifespan.shutdown = with_time_limit(self.lifespan.shutdown)
        await super().shutdown(sockets)
        self._is_over = True

    async def _drain_backlog(self) -> None:
        """Accept pending connections, and wait for requests on new and recently active ones.

        Polls are counted, not seconds: a machine that is paused for a second has not polled.
        """
        connections: set[HttpProtocol] = self.server_state.connections  # type: ignore[assignment]
        for poll in DRAIN_POLLS:
            for listener in self._listeners:
                if listener.is_ours or poll < MIN_DRAIN_POLLS:
                    await listener.accept_pending()
            if poll >= MIN_DRAIN_POLLS and not any(each.recently_active() for each in connections):
                return
            await asyncio.sleep(DRAIN_POLL_S)

    def _tls(self, certificates: Certificates) -> asyncio.Protocol:
        return TlsConnection(certificates.context, self.server_state, self._protocol)

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _log_failure(reload: asyncio.Task[None]) -> None:
    """Log why a reload failed; the models stay as they were, and are checked again next time."""
    if not reload.cancelled() and (error := reload.exception()) is not None:
        log.error("reload failed", exc_info=error)
