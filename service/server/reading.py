"""Reading requests: piece by piece, in time, and as RFC 9112 has them.

The half of the protocol that looks at what a client sends; `service.server.protocol` has the rest.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.log import Seldom
from service.server.closing import Lingering
from service.server.connections import Connections, Limits
from service.server.heads import Fault, check_head, written
from service.server.pipelining import Ahead
from service.server.upgrade import head_without_offers

MAX_OVERHEAD_BYTES = 65_536
"""Of one request without its body: request line, headers, the frames of chunks, trailers."""
BODY_PER_OVERHEAD = 8
"""So many bytes of a body allow one byte more: a long upload has more frames."""
PROBES = frozenset({b"/livez", b"/readyz", b"/metrics"})
INVALID = Fault(HTTPStatus.BAD_REQUEST, "Invalid HTTP request received.")
INCOMPLETE = Fault(HTTPStatus.BAD_REQUEST, "The request ended before it was whole.")
NO_TUNNEL = Fault(HTTPStatus.BAD_REQUEST, "CONNECT is not answered here.")
NO_MEMORY = Fault(HTTPStatus.SERVICE_UNAVAILABLE, "There is no memory left. Try again in 1 s.")
TOO_MANY = Fault(
    HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are in use. Try again in 1 s."
)
TOO_LARGE = Fault(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request has more than {MAX_OVERHEAD_BYTES:,} bytes beside its body, "
    f"plus one for every {BODY_PER_OVERHEAD} of the body.",
)
_INVALID_REQUESTS = Seldom()


class ReadingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a time limit for headers, and a size limit beside the body.

    uvicorn waits for ever for a client that sends a byte a minute, and keeps whatever comes. An
    offer to speak another protocol is passed over, as RFC 9110, 7.8 allows; httptools would take
    the body for that protocol's bytes.
    """

    _ahead: Ahead
    _lingering: Lingering
    _overhead = 0  # bytes of the present request that were no body, less what its body allows
    _fed = 0  # of the present bytes, what no request has counted yet
    _body_left = 0  # of a body whose length was announced
    _headers_timeout: asyncio.TimerHandle | None = None
    _is_reading = False  # within a request, and
    _is_in_body = False  # past its head
    _is_extra = False  # beyond the limit of connections
    _fault: Fault | None = None  # found within the parser
    _last_answer: bytes | None = None  # to a request that could not be read, in its turn
    _running: Any = None  # uvicorn's cycle of the request that is being answered

    def __init__(self, config: Any, server_state: ServerState, *more: Any, **named: Any) -> None:
        """Take the limits from the server's state; the usual ones if it has none."""
        super().__init__(config, server_state, *more, **named)
        ours = server_state if isinstance(server_state, Connections) else None
        self._others = ours or Connections(Limits())

    def is_deaf(self) -> bool:
        """Whether what the client sends is of no interest any more."""
        return self.parser is None or self._lingering.is_ending or self._last_answer is not None

    def body_left(self) -> int | None:
        """Count the bytes that surely belong to the present body; None outside of one."""
        return self._body_left if self._is_in_body else None

    def is_behind(self) -> bool:
        """Whether a request waits for the answer to the one before."""
        return bool(self.pipeline)

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def parse(self, piece: bytes | memoryview) -> None:
        """Parse some bytes, again where an offer is passed over; see to the clocks."""
        fault: Fault | None = None
        while piece and fault is None and not self.is_deaf():
            self._fed = len(piece)
            self._overhead += self._fed
            try:
                self.parser.feed_data(piece)
                break
            except httptools.HttpParserUpgrade as upgrade:
                if self.parser.get_method() == b"CONNECT":
                    fault = NO_TUNNEL
                else:
                    piece = self._head_again() + piece[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                is_short = isinstance(error.__context__, MemoryError)
                fault = self._fault or (NO_MEMORY if is_short else INVALID)
        if fault is None and self._overhead > MAX_OVERHEAD_BYTES and self._is_reading:
            fault = TOO_LARGE
        if fault is not None:
            self._refuse(fault)
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

    def _head_again(self) -> bytes:
        """Write the head of a request as if it had offered nothing, for a new parser."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        return head_without_offers(method, self.url, version, self.headers)

    def _refuse(self, fault: Fault) -> None:
        """Answer what never becomes a whole request, in its turn, and end the connection."""
        if fault is INVALID and (times := _INVALID_REQUESTS.count()) is not None:
            self.logger.warning(INVALID.text, extra={"fields": {"times": times}})
        if self._lingering.is_closing():
            return
        running, is_own = self._running, self._is_in_body and self.cycle is self._running
        if running is None or running.response_complete:
            if not self._is_in_body:
                self.transport.write(written(fault))
            self.transport.close()
        elif is_own and not running.response_started:
            self.transport.write(written(fault))
            self.transport.close()
        else:
            if self._is_in_body and self.pipeline and self.pipeline[0][0] is self.cycle:
                self.pipeline.popleft()
            self._last_answer = b"" if is_own else written(fault)
            self._ahead.drop()

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
        version = self.parser.get_http_version()
        self._check(version)
        super().on_headers_complete()
        self._is_in_body = True

    def _check(self, version: str) -> None:
        """Refuse a head that breaks the rules, or that comes on one connection too many.

        Raises:
            ValueError: If so; it ends the parser, whose caller answers.
        """
        found = check_head(version, self.headers)
        if isinstance(found, Fault):
            self._fault = found
        elif self._is_extra and self.url not in PROBES and self._others.are_too_many:
            self._fault = TOO_MANY
        else:
            self._body_left = found
            return
        raise ValueError(self._fault.text)

    def on_body(self, body: bytes) -> None:
        """Count it; drop what comes after the answer."""
        size = len(body)
        self._overhead -= size
        self._fed -= size
        self._body_left -= size
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

    def _start_clock(self) -> None:
        loop = asyncio.get_running_loop()
        self._headers_timeout = loop.call_later(
            self._others.limits.header_s, self._lingering.close_now
        )

    def _stop_clock(self) -> None:
        if self._headers_timeout is not None:
            self._headers_timeout.cancel()
            self._headers_timeout = None
