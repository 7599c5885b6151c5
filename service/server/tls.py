"""TLS between a connection and the protocol that speaks HTTP.

OpenSSL does the work, on bytes in memory. asyncio has such a layer too, which waits for a client to
confirm the end, and cannot end one direction alone (docs/decisions/0063).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

from service.log import LogThrottle, log
from service.server.connections import Connections
from service.server.faults import NO_TLS, render

READ_BYTES = 16_384
"""What one record of TLS holds."""
PLAIN_HTTP = "HTTP_REQUEST"
"""OpenSSL's word for a client that speaks HTTP without TLS."""

_failed_handshakes = LogThrottle()


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """Below, the protocol of a plain transport; above, the transport of a protocol.

    Until the handshake is complete it counts as an idle connection: it has the time of a request's
    head, and makes room where there are too many connections.

    Args:
        context: The certificate.
        state: Of the server.
        make_protocol: Called when the handshake is complete.
    """

    _raw: asyncio.Transport
    _timer: asyncio.TimerHandle

    def __init__(
        self,
        context: ssl.SSLContext,
        state: Connections,
        make_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._state = state
        self._make_protocol = make_protocol
        self._protocol: asyncio.Protocol | None = None
        self._is_paused = self._has_sent_end = self._has_received_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake."""
        self._raw = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._state.limits.header_s, self.abort)
        self._state.connections.add(self)  # type: ignore[arg-type]  # it has what is asked for
        self._state.idle[self] = None
        if self._state.are_too_many:
            self._state.make_room(self)

    def data_received(self, data: bytes) -> None:
        """Decrypt what arrives."""
        if self._has_sent_end or self._has_received_end:
            return
        self._incoming.write(data)
        if self._protocol is None:
            self._shake_hands()
        self._read()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._log_failure(error)
            self._flush()  # the alert says why
            if error.reason == PLAIN_HTTP:
                self._raw.write(render(NO_TLS))
            self._raw.close()
        else:
            self._flush()
            self._end_handshake()
            self._protocol = self._make_protocol()
            self._protocol.connection_made(self)

    def _log_failure(self, error: ssl.SSLError) -> None:
        if (times := _failed_handshakes.count()) is not None:
            fields = {"why": error.reason or str(error), "times": times}
            log.warning("TLS handshake failed", extra={"fields": fields})

    def _end_handshake(self) -> None:
        """Be no connection of the server any more: the protocol is one, or it is over."""
        self._timer.cancel()
        self._state.connections.discard(self)
        self._state.idle.pop(self, None)

    def _read(self) -> None:
        """Pass on what is decrypted."""
        while self._protocol is not None and self._can_read():
            try:
                data = self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:  # not what the client has sent
                self.abort()
                return
            if not data:
                self._has_received_end = True
                if not self._protocol.eof_received():
                    self.close()
                return
            self._protocol.data_received(data)
        self._flush()  # an answer to a new key

    def _can_read(self) -> bool:
        has_bytes = self._incoming.pending or self._tls.pending()
        is_held = self._is_paused or self._has_sent_end or self._raw.is_closing()
        return bool(has_bytes) and not is_held

    def eof_received(self) -> bool:
        """Go on if the client has said that it ends; else somebody has cut the connection."""
        return self._has_received_end

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol, and let go of it."""
        self._end_handshake()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the protocol."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the protocol."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    def close_if_idle(self) -> bool:
        """Give up the handshake, to make room."""
        self.abort()
        self._state.connections.discard(self)  # so that the count is right
        return True

    def recently_active(self) -> bool:
        """Tell that a request may be on its way."""
        return True

    def shutdown(self) -> None:
        """Give up the handshake: the server ends."""
        self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt, and send."""
        if self._has_sent_end or self._raw.is_closing():
            return
        try:
            while data:
                data = data[self._tls.write(data) :]
        except ssl.SSLError:
            self.abort()
        else:
            self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._raw.write(data)

    def can_write_eof(self) -> bool:
        """Tell that one direction can end alone."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more will be sent."""
        if not self._has_sent_end:
            self._has_sent_end = True
            with contextlib.suppress(ssl.SSLError):  # the client has not said so yet
                self._tls.unwrap()
            self._flush()

    def close(self) -> None:
        """Say that it is over, and close when all is sent; the client need not confirm it."""
        if not self._raw.is_closing():
            self.write_eof()
            self._raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        """Read nothing more for now."""
        self._is_paused = True
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read on, from the next iteration of the event loop."""
        if self._is_paused:
            self._is_paused = False
            self._raw.resume_reading()
            asyncio.get_running_loop().call_soon(self._read)

    def get_write_buffer_size(self) -> int:
        """Bytes that the client's system has not taken yet."""
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Say more of this connection, or of the one below."""
        own = {"sslcontext": self._tls.context, "ssl_object": self._tls}
        return own[name] if name in own else self._raw.get_extra_info(name, default)
