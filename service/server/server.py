"""uvicorn, with an end that loses no request, and limits for slow and for vanished clients."""

import asyncio
import contextlib
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
from service.log import Seldom, log
from service.server.connections import Connections, Limits, limits, raise_file_limit
from service.server.listen import address, beside, take_no_more
from service.server.protocol import ASKS_AGAIN_S, PatientProtocol
from service.server.shutdown import END_S, end_within, in_time
from service.settings import STALL_TIMEOUT_S, Settings
from service.threads import started_pool

LOOK_S = 0.02
"""Between two looks at the end for new callers, and for those who may ask once more."""
LOOKS = range(round(ASKS_AGAIN_S / LOOK_S))
FEWEST_LOOKS = 10
"""Even with nobody in sight: a caller's handshake may wait 0.2 s for the first bytes."""


def configure(settings: Settings, app: Any, **more: Any) -> uvicorn.Config:
    """Configure uvicorn for an application, or for the path of a function that makes one."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=PatientProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # a deadline counts from the end of the body, which takes its own time
        timeout_graceful_shutdown=math.ceil(settings.body_timeout_s + settings.deadline_ms / 1000)
        + 1,
        timeout_keep_alive=settings.keep_alive_timeout_s,  # type: ignore[arg-type]  # as asyncio's
        **more,
    )


class Server(uvicorn.Server):
    """uvicorn's server, that drains: not ready at once, gone when all is answered, exit 0."""

    def __init__(self, config: uvicorn.Config, *, owns_port: bool = False) -> None:
        """Prepare; the application is known when the configuration is loaded.

        Args:
            config: uvicorn's.
            owns_port: No other process listens on it.
        """
        super().__init__(config)
        self.server_state: Connections = Connections(Limits())
        self._owns_port = owns_port
        self._tick_failed = Seldom()
        self._listening: list[socket.socket] = []  # the same sockets, kept until the end
        self._is_main = self._is_over = False
        self._own: list[socket.socket] = []  # beside those of other workers
        self._leave_at: float | None = None
        self._untold_delay_s: float | None = None
        self._look_at = 0.0
        self._ticked_at: float | None = None
        self._reload: asyncio.Task[None] | None = None
        self._parent = os.getppid()

    @property
    def state(self) -> Any:  # Starlette's State takes any attribute
        """The application's state."""
        app = self.config.loaded_app
        while not hasattr(app, "state"):  # uvicorn wraps it for proxies' headers
            app = app.app
        return app.state.service

    @property
    def is_stuck(self) -> bool:
        """Whether the event loop, or a run of the engine, has stood still for too long.

        Any thread may ask. Who is still to start, or on the way out, is not stuck.
        """
        if self._ticked_at is None or self.should_exit:
            return False
        stands_still = time.monotonic() - self._ticked_at > STALL_TIMEOUT_S
        return stands_still or self.state.is_stalled

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain on SIGTERM; leave at once on Ctrl+C. A second signal changes nothing.

        uvicorn's own handler would raise the signal again at the end: an exit code of 143.
        Nothing here may wait for a lock, the log's for one: the signal may have come while
        this very thread held it.
        """
        if not self.config.loaded:  # there is no application to ask yet, and no client
            self.should_exit = True
        elif self._leave_at is None:
            delay_s = self.state.settings.drain_delay_s if sig == signal.SIGTERM else 0
            self._leave_at = time.monotonic() + delay_s
            self._untold_delay_s = delay_s
            self.state.draining = True
            if self._is_main:  # even if the event loop stands still from now on
                answers_s = self.config.timeout_graceful_shutdown or 0
                end_within(delay_s + answers_s + 2 * END_S, 1)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end; what fails after the last answer changes nothing any more.

        Ending the event loop starts a thread, for which there may be no room.
        """
        try:
            super().run(sockets)
        except Exception:
            if not self._is_over:
                raise
            log.warning("ended, and not all was cleaned up", exc_info=True)

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, at the gauges and whether it is time to leave.

        Whatever fails here, for want of memory or of open files, must not end the server.
        """
        self._ticked_at = time.monotonic()
        for step in (self._see_to_the_end, self.state.refresh, self._reload_if_due):
            try:
                step()
            except Exception:  # noqa: BLE001  # that is the point
                if (times := self._tick_failed.count()) is not None:
                    fields = {"step": step.__name__, "times": times}
                    log.exception("watch failed", extra={"fields": fields})
        try:
            return await super().on_tick(counter)
        except MemoryError:
            return self.should_exit

    def _see_to_the_end(self) -> None:
        """Drain if the supervisor was killed; end when it is time."""
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            self.should_exit = True
        if not self._owns_port and os.getppid() != self._parent:
            self.handle_exit(signal.SIGTERM, None)
        if self._untold_delay_s is not None:
            delay_s, self._untold_delay_s = self._untold_delay_s, None
            log.info("draining", extra={"fields": {"seconds": delay_s}})

    def _reload_if_due(self) -> None:
        """Look for new versions now and then, one look at a time."""
        every_s = self.state.settings.watch_s
        is_due = every_s > 0 and time.monotonic() >= self._look_at
        if is_due and (self._reload is None or self._reload.done()):
            self.reload()

    def reload(self) -> None:
        """Look for new versions, beside the requests; not any more when it drains."""
        if self._leave_at is not None:
            return
        self._look_at = time.monotonic() + (self.state.settings.watch_s or math.inf)
        self._reload = asyncio.get_running_loop().create_task(self.state.reload())
        self._reload.add_done_callback(_tell_failure)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen to SIGHUP too, once there is a loop and a model.

        Who was told to end while its model was loaded does not listen any more.
        """
        if self.should_exit:
            return
        if not self._owns_port:
            self._own = [beside(sock) for sock in sockets or []]
            sockets = self._own
        self._is_main = threading.current_thread() is threading.main_thread()
        count = max(1, usable_cores() // self.config.workers) + 4
        asyncio.get_running_loop().set_default_executor(started_pool(count, "other"))
        self.server_state = Connections(limits(self.state.settings, raise_file_limit()))
        await super().startup(sockets)
        self._listening = [
            socket.fromfd(sock.fileno(), sock.family, sock.type)
            for server in self.servers
            for sock in server.sockets
        ]
        names = [address(sock) for sock in self._listening]
        log.info("listening", extra={"fields": {"at": names}})
        if self._is_main:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.reload)
        self._look_at = time.monotonic() + (self.state.settings.watch_s or math.inf)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port without dropping who is already there, then let uvicorn finish.

        Closing a listening socket resets the connections that the kernel took and nobody
        accepted; uvicorn then closes idle ones with their request still unread. So the last
        ones are accepted by hand, and all get a moment for their bytes to be read.
        """
        for server in self.servers:
            server.close()
        for sock in [*(sockets or []), *self._own]:  # what uvicorn was given listens, too
            sock.close()
        with contextlib.ExitStack() as open_sockets:
            for sock in self._listening:
                take_no_more(open_sockets.enter_context(sock))
            await self._serve_the_last(self._listening)
        self.lifespan.shutdown = in_time(self.lifespan.shutdown)
        await super().shutdown(sockets)
        self._is_over = True

    async def _serve_the_last(self, listening: list[socket.socket]) -> None:
        """Let in who had called, and wait for those who never asked or asked a moment ago.

        Looks are counted, not seconds: a machine that stands still for a second has not looked.
        """
        connections: set[PatientProtocol] = self.server_state.connections  # type: ignore[assignment]
        for look in LOOKS:
            for sock in listening:
                await self._accept_the_last(sock)
            if look >= FEWEST_LOOKS and not any(each.may_ask_soon() for each in connections):
                return
            await asyncio.sleep(LOOK_S)

    async def _accept_the_last(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # nobody is left
                return
            with contextlib.suppress(OSError):  # it has gone
                await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return PatientProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _tell_failure(reload: asyncio.Task[None]) -> None:
    """Log what stopped a reload; the models stay as they were, and the next look is due."""
    if not reload.cancelled() and (error := reload.exception()) is not None:
        log.error("reload failed", exc_info=error)
