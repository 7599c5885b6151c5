"""Receive requests: piece by piece, in time, and as RFC 9112 has them.

The half of the protocol that reads what a client sends; `service.server.protocol` has the rest.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.fault import FAULT, Fault
from service.log import LogThrottle
from service.server.closing import LingeringTransport
from service.server.connections import Connections
from service.server.faults import (
    MAX_FIELDS,
    NO_MEMORY,
    NO_TUNNEL,
    TOO_LARGE,
    TOO_MANY_CONNECTIONS,
    HeadError,
    fault_of,
    max_bytes,
    render,
)
from service.server.heads import check_head, has_path
from service.server.timeouts import NEVER, LazyTimeout
from service.server.upgrade import strip_upgrade

PIECE_BYTES = 4_096
"""Of heads and chunks, parsed at a time: some 150 of the shortest requests, 2 KB each."""
PROBES = frozenset({b"/livez", b"/readyz", b"/metrics"})
UNREAD = b"*"
"""In place of a path or method that cannot be read."""
BETWEEN, HEAD, BODY = range(3)
"""What is being received: nothing, a request's head, or its body."""

_invalid_requests = LogThrottle()


class ReceivingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on what is received.

    - A head must arrive in time; what comes beside a body is limited.
    - Requests sent ahead of their responses wait as bytes.
    - An offer to speak another protocol is ignored, as RFC 9110, 7.8 allows; httptools would take
      the body for that protocol's bytes.
    """

    server_state: Connections
    _idle_since = 0.0
    _lingering: LingeringTransport
    _timeout: LazyTimeout
    _stage = BETWEEN
    _active: RequestResponseCycle | None = None  # the request that is being answered
    _unparsed = b""
    _fed = 0  # bytes of the request that is being received
    _body_received = _body_length = 0  # so far, and as announced
    _is_refused = False  # that request, by its head alone
    _ignores_input = False
    _last_response: bytes | None = None  # to be sent after the pending ones, before the end
    _is_extra = False  # beyond the limit of connections

    def data_received(self, data: bytes) -> None:
        """Parse what arrives; what is not due yet waits as bytes."""
        if self._ignores_input:
            return
        if self._unparsed:  # read before reading was paused
            self._unparsed += data
        elif len(data) > PIECE_BYTES or self.pipeline:
            self._parse_pieces(data)
        else:
            self._parse(data)

    def _parse_pieces(self, data: bytes) -> None:
        """Parse a body at once, and all else piece by piece: other connections come in between."""
        left = memoryview(data)
        while left and not self._ignores_input:
            body_left = self._body_length - self._body_received if self._stage == BODY else 0
            if self.pipeline or (self._stage != BODY and len(left) < len(data)):
                self._unparsed = bytes(left)
                self._lingering.hold_reading()
                self._continue_soon()
                return
            size = max(PIECE_BYTES, body_left)
            self._parse(left[:size])
            left = left[size:]

    def _continue_soon(self) -> None:
        """Parse more in the next iteration of the event loop, if no request waits by then."""
        if not self.pipeline:
            self.loop.call_soon(self._continue)

    def _continue(self) -> None:
        """Parse what waits, and read on; not while a request or a response is ahead of it."""
        is_behind = bool(self._unparsed and self.pipeline) or self._lingering.is_delaying
        if is_behind or self._lingering.is_closing():
            return
        data, self._unparsed = self._unparsed, b""
        self._lingering.is_held = False
        if data:
            self.data_received(data)
        if not self.flow.read_paused:
            self._lingering.resume_reading()

    def _parse(self, piece: bytes | memoryview) -> None:
        """Parse some bytes, again where an offer is ignored; then see to size and time."""
        while True:
            try:
                self.parser.feed_data(piece)
                break
            except httptools.HttpParserUpgrade as upgrade:
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(NO_TUNNEL)
                    return
                piece = self._head_without_upgrade() + piece[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                is_read = isinstance(error.__context__, HeadError)
                self._refuse(fault_of(error), is_read=is_read)
                return
        if self._stage != BETWEEN:
            self._fed += len(piece)
            if self._fed > max_bytes(self._body_received) or len(self.headers) > MAX_FIELDS:
                self._refuse(TOO_LARGE)
                return
        if self._active is None and self._timeout.deadline == NEVER:
            self._start_timeout()

    def _start_timeout(self) -> None:
        """Limit the wait for the rest of what is being received, or else for another request."""
        is_idle = self._stage == BETWEEN
        limit_s = self.timeout_keep_alive if is_idle else self.server_state.limits.header_s
        self._timeout.start(self.loop.time() + limit_s)

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        return strip_upgrade(method, self.url, version, self.headers)

    def _refuse(self, fault: Fault, *, is_read: bool = False) -> None:
        """End the connection; the application answers, in its turn, and judges the key first.

        Args:
            fault: Why the rest is not read.
            is_read: Whether all headers are.
        """
        if self._lingering.is_closing():
            return
        if self._stage == HEAD and fault is not NO_MEMORY:
            self._begin_refused(is_read=is_read)
        self._ignore_input()
        if self._stage != BODY:
            self._reject(fault)
        elif self._active is None:  # it is answered
            self.transport.close()
        else:
            self.cycle.scope[FAULT] = fault  # type: ignore[literal-required]
            self.cycle.keep_alive = False
            if self._active is self.cycle:
                self.loop.call_soon(self._reject_begun, fault)

    def _begin_refused(self, *, is_read: bool) -> None:
        """Have the application begin with a head that is not, or only in part, what it seems."""
        if not is_read:
            self.headers.clear()
        has_method = bool(self.url)
        if not has_path(self.url):
            self.url = UNREAD
        self._begin()
        if not has_method:
            self.scope["method"] = UNREAD.decode()

    def _reject_begun(self, fault: Fault) -> None:
        """Answer a request that the application still reads; one that is answered is over."""
        if self._lingering.is_closing():
            return
        active = self._active
        if active is not None and active.response_started:
            self._last_response = b""
            return
        if active is not None:
            self.transport.write(render(fault))
        self.transport.close()

    def _reject(self, fault: Fault) -> None:
        """Answer what is no request, in its turn, and end the connection."""
        if (times := _invalid_requests.count()) is not None:
            self.logger.warning(fault.text, extra={"fields": {"times": times}})
        if self._active is None:
            self.transport.write(render(fault))
            self.transport.close()
        else:
            self._last_response = render(fault)

    def on_message_begin(self) -> None:
        """Count anew."""
        self._stage = HEAD
        self._fed = self._body_received = 0
        self._timeout.deadline = NEVER
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the head, and start the request; its body has a timeout of its own.

        Raises:
            HeadError: For the parser, whose caller answers.
        """
        if self.parser.should_upgrade():  # it is parsed again
            return
        if len(self.headers) > MAX_FIELDS:
            raise HeadError(TOO_LARGE)
        self._body_length = check_head(self.parser.get_http_version(), self.headers)
        if self._is_extra and self.url not in PROBES and self.server_state.are_too_many:
            raise HeadError(TOO_MANY_CONNECTIONS)
        if not self._refuse_early():
            self._begin()

    def _refuse_early(self) -> bool:
        return False

    def _begin(self) -> None:
        """Start the request."""
        self._timeout.deadline = NEVER
        super().on_headers_complete()
        self.headers = []  # of trailers, which are no headers of the request (RFC 9110, 6.5.1)
        self._stage = BODY
        if self._active is None:
            self._active = self.cycle
            self.server_state.idle.pop(self, None)

    def on_body(self, body: bytes) -> None:
        """Count the bytes; drop those of a refused request."""
        self._body_received += len(body)
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Read on, so that a disconnect is noticed: the application may have no reason to ask."""
        if self._stage == HEAD:  # an offer to upgrade
            return
        self._stage = BETWEEN
        self._timeout.deadline = NEVER
        if self._is_refused:
            self._is_refused = False
            return
        super().on_message_complete()
        if self.flow.read_paused and not self.pipeline:
            self.flow.resume_reading()

    def close_if_idle(self) -> bool:
        """Close the connection to make room, unless its last response is still being sent."""
        if self._lingering.get_write_buffer_size():
            return False
        self._lingering.close_now()
        self.connections.discard(self)  # now, so that the count is right
        return True

    def _ignore_input(self) -> None:
        """Read and drop what still arrives."""
        self._ignores_input = True
        self._unparsed = b""
        self._lingering.is_held = False
        self._lingering.resume_reading()
