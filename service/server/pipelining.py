"""Requests that a client sends ahead of their answers: they wait as bytes, not parsed.

Thousands of requests fit into one read, and each would take 2 KB as soon as it is parsed.
"""

import asyncio
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

PIECE_BYTES = 4_096
"""Of heads and chunks, parsed at a time: some 150 of the shortest requests."""


class Flow(FlowControl):
    """uvicorn's control of reading; while bytes wait, nothing more is read."""

    is_held = False

    def resume_reading(self) -> None:
        """Read on, unless bytes wait."""
        if not self.is_held:
            super().resume_reading()


class Parser(Protocol):
    """Whoever parses."""

    def parse(self, piece: bytes | memoryview) -> None:
        """Parse some bytes."""

    def body_left(self) -> int | None:
        """Count the bytes that surely belong to the present body; None outside of one."""

    def is_behind(self) -> bool:
        """Whether a request waits for the answer to the one before."""

    def is_deaf(self) -> bool:
        """Whether nothing is parsed any more."""


class Ahead:
    """Gives bytes to a parser piece by piece, and holds back what is not due yet.

    Args:
        parser: Takes them.
        flow: Of the connection.
    """

    def __init__(self, parser: Parser, flow: Flow) -> None:
        """Nothing waits."""
        self._parser = parser
        self._flow = flow
        self._held = b""

    def take(self, data: bytes) -> None:
        """Parse what may be parsed now; between pieces other connections have their turn."""
        if self._held:  # read before reading was paused
            self._held += data
            return
        parser = self._parser
        if len(data) <= PIECE_BYTES and not parser.is_behind():  # most often
            parser.parse(data)
            return
        left = memoryview(data)
        while left and not parser.is_deaf():
            body_left = parser.body_left()
            if parser.is_behind() or (body_left is None and len(left) < len(data)):
                self._hold(bytes(left))
                return
            size = max(PIECE_BYTES, body_left or 0)
            parser.parse(left[:size])
            left = left[size:]

    def _hold(self, data: bytes) -> None:
        self._held = data
        self._flow.pause_reading()
        self._flow.is_held = True
        self.go_on_soon()

    def go_on_soon(self) -> None:
        """Parse more in the next iteration of the event loop, if it is due."""
        if self._held and not self._parser.is_behind():
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._held and not self._parser.is_behind():
            held, self._held, self._flow.is_held = self._held, b"", False
            self.take(held)
            if not self._held:
                self._flow.resume_reading()

    def drop(self) -> None:
        """Forget what waits, and read on."""
        self._held, self._flow.is_held = b"", False
        self._flow.resume_reading()
