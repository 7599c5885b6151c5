"""The open connections of a process: limits for each, and which one makes room for another.

A process that may open no more files accepts nobody, and neither the log, a reload nor the
metrics work. So connections are capped below that limit.
"""

import resource
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from uvicorn.server import ServerState

from service.log import Seldom, log
from service.settings import Settings

OTHER_FILES = 64
"""Listening sockets, the log, metrics, a trial load's pipes; connections that are just closing."""
LOOKS = 64
"""At connections that are still sent their answer, before a new one is refused."""


@dataclass(frozen=True)
class Limits:
    """Of connections; times in seconds."""

    connections: int = 2_000
    header_s: float = 10.0
    write_s: float = 30.0


class Idle(Protocol):
    """A connection that may be closed to make room."""

    def close_if_idle(self) -> bool:
        """Close it, unless its last answer is still being sent; tell whether it was closed."""


class Connections(ServerState):
    """uvicorn's state of a server, with limits, and the idle connections in order.

    Attributes:
        idle: Connections without a request in progress, the one that is idle for longest first.
            Parts of a request's head do not count as progress.
    """

    def __init__(self, limits: Limits) -> None:
        """Begin without any."""
        super().__init__()
        self.limits = limits
        self.idle: OrderedDict[Idle, None] = OrderedDict()
        self._is_full = Seldom()

    @property
    def are_too_many(self) -> bool:
        """Whether there are more than allowed."""
        return len(self.connections) > self.limits.connections

    def make_room(self, newest: Idle) -> bool:
        """Close those that are idle for longest; False if there are still too many."""
        if (times := self._is_full.count()) is not None:
            fields = {"limit": self.limits.connections, "times": times}
            log.warning("too many connections; idle ones are closed", extra={"fields": fields})
        for _ in range(min(LOOKS, len(self.idle))):
            oldest = next(iter(self.idle))
            if oldest is newest or not self.are_too_many:
                break
            if oldest.close_if_idle():
                del self.idle[oldest]
            else:
                self.idle.move_to_end(oldest)
        return not self.are_too_many


def raise_file_limit() -> int:
    """Let this process open as many files as it may, and return that number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # some systems have a lower limit of their own
            log.warning("open files", extra={"fields": {"limit": soft, "why": str(error)}})
            return soft
    return hard


def limits(settings: Settings, max_files: int) -> Limits:
    """Take the limits from the settings; fewer connections where few files may be open.

    Args:
        settings: Of the service.
        max_files: That the process may have open; negative for no limit.
    """
    most = settings.max_connections
    if 0 <= max_files < most + OTHER_FILES:
        most = max(max_files - OTHER_FILES, max_files // 3)
        fields = {"connections": most, "open_files": max_files}
        log.warning("fewer connections, for want of open files", extra={"fields": fields})
    return Limits(most, settings.header_timeout_s, settings.write_timeout_s)
