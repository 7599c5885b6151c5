"""uvicorn's HTTP protocol, for clients that are slow, gone, or too many."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.submission import ON_LEAVE, Departure

HEADERS_TIMEOUT_S = 10.0
ASKS_AGAIN_S = 2.0
"""Who was quiet for longer is not waited for at the end; a loaded machine pauses clients."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also notices the two kinds of clients that waste work.

    Headers must arrive within `HEADERS_TIMEOUT_S`: uvicorn waits for ever for a client that
    sends a byte a minute. A client that leaves is told to its request at once, through the
    scope's `ON_LEAVE`, without a task that waits for it.
    """

    _quiet_since = 0.0
    _headers_timeout: asyncio.TimerHandle | None = None
    _is_reading = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock with the connection."""
        super().connection_made(transport)
        self._quiet_since = self.loop.time()
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Start it anew for half a head, and for the rest of a body whose answer is given."""
        super().data_received(data)
        if self._is_reading and self._headers_timeout is None and self._is_between_requests():
            self._start_clock()

    def on_message_begin(self) -> None:
        """Remember that more must come."""
        self._is_reading = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop it, since the body has a limit of its own; refuse at once what has no room."""
        self._stop_clock()
        if self._is_between_requests() and self.parser.should_keep_alive():
            refusal = self._refusal()
            if refusal is not None:
                self.transport.write(refusal)
                self.on_response_complete()
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Drop the body of a request that was refused before there was any other."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Likewise its end, with which nothing is due any more."""
        self._is_reading = False
        self._stop_clock()
        if self.cycle is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note the moment: a client that asked just now is likely to ask again."""
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def may_ask_soon(self) -> bool:
        """Tell whether a request may be on its way to a connection that has none."""
        quiet_s = self.loop.time() - self._quiet_since
        return self._is_between_requests() and quiet_s < ASKS_AGAIN_S

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, and tell the request under way that nobody waits for it."""
        self._stop_clock()
        if self.cycle is not None and not self.cycle.response_complete:
            departure = self.cycle.scope.get(ON_LEAVE)
            if isinstance(departure, Departure):
                departure()
        super().connection_lost(exc)

    def _refusal(self) -> bytes | None:
        """Ask the turnstile; None if the request may go on."""
        state = getattr(self.app, "state", None)
        turnstile = getattr(state, "turnstile", None)
        if state is None or turnstile is None or state.draining:
            return None
        method, default_headers = self.parser.get_method(), self.server_state.default_headers
        refusal: bytes | None = turnstile.refusal(method, self.url, self.headers, default_headers)
        return refusal

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_clock(self) -> None:
        loop = asyncio.get_running_loop()
        self._headers_timeout = loop.call_later(HEADERS_TIMEOUT_S, self.transport.close)

    def _stop_clock(self) -> None:
        if self._headers_timeout is not None:
            self._headers_timeout.cancel()
            self._headers_timeout = None
