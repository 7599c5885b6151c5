"""uvicorn, with an end that loses no request and a limit for slow senders."""

import asyncio
import signal
import time
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.settings import Settings
from service.telemetry import log

HEADERS_TIMEOUT_S = 10.0


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, but the headers must arrive within `HEADERS_TIMEOUT_S`.

    uvicorn waits for ever for a client that opens a connection and sends a byte a minute.
    """

    _headers_timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock with the connection."""
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Start it anew with the first bytes of a further request."""
        if self._headers_timeout is None and self._is_between_requests():
            self._start_clock()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Stop it: the body has a limit of its own."""
        self._stop_clock()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop it: nobody is left to wait for."""
        self._stop_clock()
        super().connection_lost(exc)

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_clock(self) -> None:
        loop = asyncio.get_running_loop()
        self._headers_timeout = loop.call_later(HEADERS_TIMEOUT_S, self.transport.close)

    def _stop_clock(self) -> None:
        if self._headers_timeout is not None:
            self._headers_timeout.cancel()
            self._headers_timeout = None


class Server(uvicorn.Server):
    """uvicorn's server, that drains: not ready at once, gone when all is answered, exit 0.

    Args:
        app: Its `state.draining` is set by the first signal.
        settings: Address and drain delay.
    """

    def __init__(self, app: Starlette, settings: Settings) -> None:
        """Configure uvicorn; our own log replaces its access log."""
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=PatientProtocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(settings.deadline_ms / 1000) + 1,
            )
        )
        self._app = app
        self._drain_delay_s = settings.drain_delay_s
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain on SIGTERM; leave at once on Ctrl+C. A second signal changes nothing.

        uvicorn's own handler would raise the signal again at the end: an exit code of 143.
        """
        if self._leave_at is None:
            delay = self._drain_delay_s if sig == signal.SIGTERM else 0.0
            self._leave_at = time.monotonic() + delay
            self._app.state.draining = True
            log.info("draining", extra={"fields": {"seconds": delay}})

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether it is time to leave."""
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            self.should_exit = True
        return await super().on_tick(counter)
