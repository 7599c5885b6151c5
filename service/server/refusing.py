"""Refuse requests by their heads, before uvicorn makes a request cycle and a task for them.

The application decides (`Connections.refuse`), by the same check that all other requests get there.
Most of a refusal's cost would be the cycle, the task and the layers of the application around it.
"""

import re
from typing import cast

from service.server.connections import Scope
from service.server.receiving import BODY, ReceivingProtocol
from service.server.timeouts import NEVER

TARGET = re.compile(rb"(/(?!/)[A-Za-z0-9._~/-]*)(?:\?[^#]*)?")
"""A path that is what it seems, and a query; any other is left to uvicorn's parser."""
TOO_MANY = b"HTTP/1.1 429 "
DELAY_S = 0.5
"""Of a response to a client that sends too much, which else would send more at once."""


class RefusingProtocol(ReceivingProtocol):
    """Answers a plain POST request at once if it is refused, and drops its body.

    Plain is what follows no unanswered request, on a connection that is kept alive, and expects no
    `100 Continue`. A 429 is delayed, and nothing is read meanwhile.
    """

    def _refuse_early(self) -> bool:
        refuse, parser = self.server_state.refuse, self.parser
        if (
            refuse is None
            or parser.get_method() != b"POST"
            or self._active is not None
            or self.expect_100_continue
            or self.flow.write_paused
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or (target := TARGET.fullmatch(self.url)) is None
        ):
            return False
        self.scope["method"], self.scope["path"] = "POST", target[1].decode()
        response = refuse(cast(Scope, self.scope))
        if response is None:
            return False
        self._send(*response)
        return True

    def _send(self, status_line: bytes, rest: bytes) -> None:
        """Write a response, and go on to the body of its request."""
        state = self.server_state
        response = b"".join((status_line, state.header_lines, rest))
        if status_line.startswith(TOO_MANY):
            self._lingering.write_later(response, DELAY_S, self._continue)
        else:
            self.transport.write(response)
        state.total_requests += 1
        self._idle_since = self.loop.time()
        if self in state.idle:
            state.idle.move_to_end(self)
        self._timeout.deadline = NEVER
        self.headers = []  # of trailers
        self._stage, self._is_refused = BODY, True
