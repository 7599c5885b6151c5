"""Accept connections: many in one iteration of the event loop, and the last ones at the end."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from service.server.listen import (
    address,
    bind_reuseport,
    drop_new_connections,
    is_listening,
)

ACCEPTS_PER_ITERATION = 16
"""libuv accepts one connection an iteration from each socket that it watches, so each is watched
several times. With an iteration of 60 ms, 200 new clients would wait for 12 s."""
MAX_PENDING = 256
"""Of one poll at the end."""


class Listener:
    """A socket on which connections are accepted.

    Args:
        sock: Bound; may be closed before this is.
        make_protocol: Called for each connection.
        owns_port: No other process listens on it.

    Attributes:
        is_ours: Nobody else accepts on it, or keeps what is pending for later.
    """

    def __init__(
        self,
        sock: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        owns_port: bool,
    ) -> None:
        self._make_protocol = make_protocol
        is_unix = sock.family == socket.AF_UNIX  # all workers have the same one
        self.is_ours = not is_listening(sock) and (owns_port or not is_unix)
        self._sock = sock.dup() if owns_port else bind_reuseport(sock)
        self._accepting: list[socket.socket] = []

    def __str__(self) -> str:
        """Name the address."""
        return address(self._sock)

    async def start(self, backlog: int) -> list[asyncio.Server]:
        """Accept from now on."""
        loop = asyncio.get_running_loop()
        is_unix = self._sock.family == socket.AF_UNIX
        create = loop.create_unix_server if is_unix else loop.create_server
        self._accepting = [self._sock.dup() for _ in range(ACCEPTS_PER_ITERATION)]
        return [
            await create(self._make_protocol, sock=sock, backlog=backlog)
            for sock in self._accepting
        ]

    def stop(self) -> None:
        """Accept no more by itself; `accept_pending` still does."""
        for sock in self._accepting:
            sock.close()
        if self.is_ours:
            drop_new_connections(self._sock)

    async def accept_pending(self) -> None:
        """Accept connections that the kernel has completed; more may come if others listen."""
        loop = asyncio.get_running_loop()
        self._sock.setblocking(False)
        for _ in range(MAX_PENDING):
            try:
                connection, _ = self._sock.accept()
            except OSError:  # no more are pending
                return
            with contextlib.suppress(OSError):  # the client has disconnected
                await loop.connect_accepted_socket(self._make_protocol, connection)

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()
