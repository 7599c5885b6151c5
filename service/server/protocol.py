"""uvicorn's HTTP protocol, with limits for clients that are slow, gone, too many or wrong.

uvicorn waits for ever for a client that sends a byte a minute, keeps whatever arrives, and does not
tell a request that its client has disconnected.
"""

import asyncio
from typing import cast

from service.cancellation import DISCONNECT, Disconnect
from service.server.closing import LingeringTransport
from service.server.faults import INCOMPLETE
from service.server.receiving import BETWEEN
from service.server.refusing import RefusingProtocol
from service.server.timeouts import LazyTimeout, WriteTimeout

KEEPALIVE_GRACE_S = 2.0
"""At the end, a client that was idle for longer is not waited for."""


class HttpProtocol(RefusingProtocol):
    """One connection.

    - The running request learns at once that its client has disconnected. A client that has only
      closed its sending side is answered.
    - An idle connection ends in time, and makes room where there are too many.
    - So does one whose client does not read its response.
    """

    _write_timeout: WriteTimeout

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout for the first head, and have an idle connection make room."""
        state = self.server_state
        self._write_timeout = WriteTimeout(transport, state.limits.write_s)
        self._lingering = LingeringTransport(
            transport, self._write_timeout, lambda: self._stage != BETWEEN, self._abandon
        )
        super().connection_made(cast(asyncio.Transport, self._lingering))
        self._timeout = LazyTimeout(self.loop, self._lingering.close_now)
        self._idle_since = self.loop.time()
        self._timeout.start(self._idle_since + state.limits.header_s)
        state.idle[self] = None
        if state.are_too_many:
            self._is_extra = not state.make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeouts, and tell the running request that its client has disconnected."""
        self.server_state.idle.pop(self, None)
        self._unparsed = b""
        self._timeout.stop()
        self._write_timeout.stop()
        self._notify_disconnect()
        super().connection_lost(exc)
        self._lingering.release()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer complete requests of a client that sends no more; else let the transport close.

        TCP does not tell whether the client still reads: the first bytes of the response find out,
        because a closed connection answers them with a reset.
        """
        self._write_timeout.start()
        active = self._active
        if active is None or active.more_body:
            if self._stage != BETWEEN:
                self._refuse(INCOMPLETE)
                return self._active is not None and not self._lingering.is_closing()
            return False
        self._stage, self._last_response = BETWEEN, b""
        if self.pipeline and self.pipeline[0][0].more_body:  # it will never be complete
            self.pipeline.popleft()
        if not active.response_started:
            self._lingering.begin_response()
        self._lingering.check_for_reset()
        return not self._lingering.is_closing()

    def recently_active(self) -> bool:
        """Tell whether a request may be on its way to this idle connection."""
        return self._active is None and self.loop.time() - self._idle_since < KEEPALIVE_GRACE_S

    def shutdown(self) -> None:
        """Close when idle, as uvicorn does; a client that does not read must not delay the end."""
        self._write_timeout.shorten()
        super().shutdown()

    def pause_writing(self) -> None:
        """Start the write timeout: more waits than the kernel takes."""
        super().pause_writing()
        self._write_timeout.start()

    def resume_writing(self) -> None:
        """Stop the write timeout, unless the connection closes when the rest is written."""
        if not self._lingering.is_closing():
            self._write_timeout.stop()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Go on to the next request, or wait for one.

        In place of uvicorn's, which makes and cancels a timer for each request.
        """
        self.server_state.total_requests += 1
        if self._active is not None:
            self._active.body.clear()  # uvicorn keeps it while the connection is idle
            self._active = None
        self._idle_since = self.loop.time()
        if self._lingering.is_closing():
            self.server_state.idle[self] = None  # what it still sends is dropped
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._active, app = self.pipeline.pop()
            self._start_asgi_task(self._active, app)
        elif self._last_response is not None:
            self.transport.write(self._last_response)
            self.transport.close()
        else:
            self.server_state.idle[self] = None
            self._start_timeout()
        if self._unparsed:
            self._continue_soon()

    def _abandon(self) -> None:
        """Read and drop what still arrives, and tell the running request."""
        self._ignore_input()
        self._notify_disconnect()

    def _notify_disconnect(self) -> None:
        active = self._active
        if active is None or active.response_complete or active.disconnected:
            return
        active.disconnected = True
        active.message_event.set()
        notify = active.scope.get(DISCONNECT)
        if isinstance(notify, Disconnect):
            notify()
