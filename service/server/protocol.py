"""uvicorn's HTTP protocol, for clients that are slow, gone, or too many."""

import asyncio
from typing import Any, cast

from service.cancellation import ON_LEAVE, Departure
from service.server.closing import Lingering, Uptake
from service.server.pipelining import Ahead, Flow
from service.server.reading import INCOMPLETE, ReadingProtocol

ASKS_AGAIN_S = 2.0
"""Who was quiet for longer is not waited for at the end; a loaded machine pauses clients."""


class PatientProtocol(ReadingProtocol):
    """uvicorn's HTTP protocol, which also notices the kinds of clients that waste work.

    A client that leaves is told to its request at once, through the scope's `ON_LEAVE`, without a
    task that waits for it. One that sends no more and still reads is answered. An idle connection
    makes room where there are too many.
    """

    _quiet_since = 0.0
    _sends_no_more = False  # the client, which may still read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock with the connection, and have another one make room."""
        self._uptake = Uptake(transport, self._others.limits.write_s)
        lingering = Lingering(transport, self._uptake, lambda: self._is_reading, self._give_up)
        super().connection_made(cast(asyncio.Transport, lingering))
        self.flow = Flow(cast(asyncio.Transport, lingering))
        self._ahead = Ahead(self, self.flow)
        self._lingering = lingering
        self._quiet_since = self.loop.time()
        self._start_clock()
        self._others.idle[self] = None
        if self._others.are_too_many:
            self._is_extra = not self._others.make_room(self)

    def close_if_idle(self) -> bool:
        """Close the connection to make room, unless its last answer is still being sent."""
        if self._lingering.get_write_buffer_size():
            return False
        self._lingering.close_now()
        self.connections.discard(self)  # now, so that they are counted right
        return True

    def _give_up(self) -> None:
        """Let what is still sent come in, and tell the request under way that it is in vain."""
        self._ahead.drop()
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
        self._ahead.take(data)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Remember whose client may leave, and tell the request whether it is alone."""
        self._running = cycle
        self._others.idle.pop(self, None)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Note the moment: a client that asked just now is likely to ask again."""
        self._quiet_since = self.loop.time()
        if self._running is not None:  # it is kept while the connection idles
            self._running.body.clear()
        super().on_response_complete()
        if self._lingering.is_closing():
            return
        self._ahead.go_on_soon()
        if self._running is not None and not self._running.response_complete:
            return  # a request that had waited
        if self._last_answer is not None or self._sends_no_more:
            self.transport.write(self._last_answer or b"")
            self.transport.close()
        else:
            self._others.idle.pop(self, None)
            self._others.idle[self] = None  # the latest

    def may_ask_soon(self) -> bool:
        """Tell whether a request may be on its way to a connection that has none."""
        quiet_s = self.loop.time() - self._quiet_since
        return self._is_between_requests() and quiet_s < ASKS_AGAIN_S

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks, and tell the request under way that nobody waits for it."""
        self._others.idle.pop(self, None)
        self._stop_clock()
        self._uptake.stop()
        self._leave()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer whole requests of a client that sends no more; else let the transport end.

        TCP does not tell whether the client still reads: it is asked by the first bytes of its
        answer, which a closed connection resets.
        """
        self._uptake.watch()
        running = self._running
        if running is None or running.response_complete or running.more_body:
            if self._is_reading:
                self._is_reading = False  # no more will come
                self._refuse(INCOMPLETE)
            return False
        self._sends_no_more = True
        self._is_reading = self._is_in_body = False
        if self.pipeline and self.pipeline[0][0].more_body:  # it never will be whole
            self.pipeline.popleft()
        if not running.response_started:
            self._lingering.begin_answer()
        self._lingering.look_for_reset()
        return not self._lingering.is_closing()

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
