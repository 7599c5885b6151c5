"""uvicorn's HTTP protocol, for clients that are slow, gone, or too many."""

import asyncio
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.lingering import Lingering
from service.offers import head_without_offers
from service.submission import COMPANY, ON_LEAVE, Departure
from service.uptake import Uptake

HEADERS_TIMEOUT_S = 10.0
ASKS_AGAIN_S = 2.0
"""Who was quiet for longer is not waited for at the end; a loaded machine pauses clients."""
MAX_OVERHEAD_BYTES = 65_536
"""Of one request without its body: request line, headers, the frames of chunks, trailers."""
BODY_PER_OVERHEAD = 8
"""So many bytes of a body allow one byte more: a long upload has more frames."""
INVALID = "Invalid HTTP request received."
NO_TUNNEL = "CONNECT is not answered here."
TOO_LARGE = (
    f"The request has more than {MAX_OVERHEAD_BYTES:,} bytes beside its body, "
    f"plus one for every {BODY_PER_OVERHEAD} of the body."
)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also notices the kinds of clients that waste work.

    Headers must arrive within `HEADERS_TIMEOUT_S`, and be no longer than `MAX_OVERHEAD_BYTES`:
    uvicorn waits for ever for a client that sends a byte a minute, and keeps whatever comes. A
    client that leaves is told to its request at once, through the scope's `ON_LEAVE`, without a
    task that waits for it. An offer to speak another protocol is passed over, as RFC 9110, 7.8
    allows; httptools would take the body for that protocol's bytes.
    """

    _quiet_since = 0.0
    _overhead = 0  # bytes of the present request that were no body, less what its body allows
    _fed = 0  # of the present bytes, what no request has counted yet
    _headers_timeout: asyncio.TimerHandle | None = None
    _is_reading = False  # within a request, and
    _is_in_body = False  # past its head
    _running: Any = None  # uvicorn's cycle of the request that is being answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock with the connection."""
        self._uptake = Uptake(transport)
        lingering = Lingering(transport, self._uptake, lambda: self._is_reading, self._give_up)
        super().connection_made(cast(asyncio.Transport, lingering))
        self._lingering = lingering
        self._quiet_since = self.loop.time()
        self._start_clock()

    def _give_up(self) -> None:
        """Let what is still sent come in, and tell the request under way that it is in vain."""
        self.flow.resume_reading()
        self._leave()

    def _leave(self) -> None:
        """Tell the request under way, once, that nobody waits for it."""
        running = self._running
        if running is None or running.response_complete or running.disconnected:
            return
        running.disconnected = True
        running.message_event.set()
        departure = running.scope.get(ON_LEAVE)
        if isinstance(departure, Departure):
            departure()

    def data_received(self, data: bytes) -> None:
        """Read requests; what comes between them buys the connection no time."""
        if self._lingering.is_ending:
            return
        self._fed = len(data)
        self._overhead += self._fed
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.logger.warning(INVALID)
            self._refuse(HTTPStatus.BAD_REQUEST, INVALID)
        if self._overhead > MAX_OVERHEAD_BYTES and self._is_reading:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_LARGE)
        elif self._is_between_requests():
            self._limit_wait()

    def _limit_wait(self) -> None:
        """Have one of the two clocks run; the application, whose clocks are its own, does not.

        The headers' is for half a head, and for the rest of a body whose answer is given. Who
        has sent no more than an empty line, or just that rest, is idle.
        """
        if self._headers_timeout is not None:
            return
        if self._is_reading:
            self._unset_keepalive_if_required()
            self._start_clock()
        elif self.timeout_keep_alive_task is None and not self._lingering.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """Read the request again as if it had offered nothing."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(HTTPStatus.BAD_REQUEST, NO_TUNNEL)
            return
        version = self.parser.get_http_version().encode()
        head = head_without_offers(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.data_received(head + rest)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer what never becomes a whole request, and end the connection."""
        if self._lingering.is_closing():
            return
        if self._may_answer():
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, status.phrase.encode(), len(text), text.encode())
            )
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether an answer would be taken for that to the request that is coming in."""
        if not self._is_in_body:
            return self._is_between_requests()
        is_next = self.cycle is not None and self.cycle is self._running
        return is_next and not self.cycle.response_started

    def on_message_begin(self) -> None:
        """Remember that more must come."""
        self._is_reading = True
        self._overhead, self._fed = self._fed, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop both clocks: the body has a limit of its own. Refuse at once what has no room."""
        self._stop_clock()
        self._unset_keepalive_if_required()
        if self.parser.should_upgrade():
            return  # it is read again
        is_next = self._is_between_requests() and not self.flow.write_paused
        # uvicorn ends connections of HTTP/1.0, whatever they ask for
        if is_next and self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1":
            refusal = self._refusal()
            if refusal is not None:
                self.transport.write(refusal)
                self._is_in_body = True
                self.on_response_complete()
                return
        super().on_headers_complete()
        self._is_in_body = True

    def on_body(self, body: bytes) -> None:
        """Count it; drop what comes after the answer."""
        size = len(body)
        self._overhead -= size
        self._fed -= size
        if not self._is_between_requests():
            self._overhead -= size // BODY_PER_OVERHEAD
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Likewise its end, with which nothing is due any more.

        uvicorn reads on when the application asks for more; it will not ask again for a body that
        is whole, and whoever leaves then would not be noticed.
        """
        self._is_reading = self._is_in_body = False
        self._stop_clock()
        if self.cycle is not None and not self.parser.should_upgrade():
            super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Remember whose client may leave, and tell the request whether it is alone."""
        self._running = cycle
        cycle.scope[COMPANY] = self.tasks
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Note the moment: a client that asked just now is likely to ask again."""
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def may_ask_soon(self) -> bool:
        """Tell whether a request may be on its way to a connection that has none."""
        quiet_s = self.loop.time() - self._quiet_since
        return self._is_between_requests() and quiet_s < ASKS_AGAIN_S

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks, and tell the request under way that nobody waits for it."""
        self._stop_clock()
        self._uptake.stop()
        self._leave()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Let the transport end, which it does when all is taken that was written."""
        self._uptake.watch()

    def pause_writing(self) -> None:
        """Have more wait than the kernel takes; the client must take it in time."""
        super().pause_writing()
        self._uptake.watch()

    def resume_writing(self) -> None:
        """Go on; at the end the little that is left must be taken, too."""
        if not self._lingering.is_closing():
            self._uptake.stop()
        super().resume_writing()

    def shutdown(self) -> None:
        """End when idle, as uvicorn does, and let no client that takes nothing hold that up."""
        self._uptake.hurry()
        super().shutdown()

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
        self._headers_timeout = loop.call_later(HEADERS_TIMEOUT_S, self._lingering.close_now)

    def _stop_clock(self) -> None:
        if self._headers_timeout is not None:
            self._headers_timeout.cancel()
            self._headers_timeout = None
