"""The open connections of a process: their limits, and which one makes room for another.

A process that can open no more files accepts no connection, and can neither reload a model nor
serve metrics. So connections are capped below that limit.
"""

import resource
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from uvicorn.server import ServerState

from service.log import LogThrottle, log
from service.settings import Settings

OTHER_FILES = 64
"""Listening sockets, the log, metrics, the pipes of a trial load, connections that are closing."""
MAX_CHECKED = 64
"""Idle connections whose last response is still being sent, before a new one is refused."""


@dataclass(frozen=True)
class Limits:
    """Limits of connections; times in seconds."""

    connections: int = 2_000
    header_s: float = 10.0
    write_s: float = 30.0


Scope = dict[str, Any]  # ASGI's


class Idle(Protocol):
    """A connection that can be closed to make room."""

    def close_if_idle(self) -> bool:
        """Close it, unless its last response is still being sent; return whether it was closed."""


class Connections(ServerState):
    """uvicorn's state of a server, with limits, and with the idle connections in order.

    Attributes:
        idle: Connections without a request in flight, the one that has been idle longest first.
            A head of which only a part has arrived is no request.
        refuse: Checks a plain POST request by its scope before it is begun; gives the status line
            and the rest of a response if it is refused, headers of the server left out.
    """

    refuse: Callable[[Scope], tuple[bytes, bytes] | None] | None = None

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.idle: OrderedDict[Idle, None] = OrderedDict()
        self._is_full = LogThrottle()
        self._rendered: tuple[list[tuple[bytes, bytes]], bytes] = [], b""

    @property
    def header_lines(self) -> bytes:
        """Uvicorn's headers, such as the date, as they go over the wire."""
        headers = self.default_headers
        if headers is not self._rendered[0]:  # uvicorn makes a new list each second
            lines = b"".join(b"%s: %s\r\n" % pair for pair in headers)
            self._rendered = headers, lines
        return self._rendered[1]

    @property
    def are_too_many(self) -> bool:
        """Whether there are more than allowed."""
        return len(self.connections) > self.limits.connections

    def make_room(self, newest: Idle) -> bool:
        """Close the connections idle for longest; return False if there are still too many."""
        if (times := self._is_full.count()) is not None:
            fields = {"limit": self.limits.connections, "times": times}
            log.warning("too many connections: closing idle ones", extra={"fields": fields})
        for _ in range(min(MAX_CHECKED, len(self.idle))):
            oldest = next(iter(self.idle))
            if oldest is newest or not self.are_too_many:
                break
            if oldest.close_if_idle():
                del self.idle[oldest]
            else:
                self.idle.move_to_end(oldest)
        return not self.are_too_many


def raise_file_limit() -> int:
    """Raise this process's limit of open files as far as it may, and return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # some systems have a lower limit
            log.warning("open files", extra={"fields": {"limit": soft, "why": str(error)}})
            return soft
    return hard


def limits(settings: Settings, max_files: int) -> Limits:
    """Read the limits from the settings; fewer connections where few files can be open.

    Args:
        settings: Of the service.
        max_files: How many the process may have open; negative for no limit.
    """
    connections = settings.max_connections
    if 0 <= max_files < connections + OTHER_FILES:
        connections = max(max_files - OTHER_FILES, max_files // 3)
        fields = {"connections": connections, "open_files": max_files}
        log.warning(
            "fewer connections, because the process may open few files", extra={"fields": fields}
        )
    return Limits(connections, settings.header_timeout_s, settings.write_timeout_s)
