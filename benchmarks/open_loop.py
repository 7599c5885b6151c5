"""Requests at a constant rate, whatever the server does.

Latency counts from the moment a request was due, so that a stall is not hidden (no
coordinated omission).
"""

import asyncio
import time
from urllib.parse import urlsplit

from benchmarks.client import BROKEN, Answer, Connection, Load

AT_ONCE = 64
"""Requests that are sent before answers are read again, when the load is late."""
PATIENCE_S = 30.0
"""For the last answers."""


class OpenLoop:
    """Sends one prepared request again and again.

    Args:
        url: Where to.
        request: As it goes over the wire.
    """

    def __init__(self, url: str, request: bytes) -> None:
        parts = urlsplit(url)
        self.load = Load()
        self._address = parts.hostname or "", parts.port or 80
        self._request = request
        self._free: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._left = 0
        self._all_answered = asyncio.Event()

    async def run(self, rate: float, seconds: float, connections: int) -> Load:
        """Send for so long at so many a second; see `open_loop`."""
        self._free = [await Connection.open(*self._address) for _ in range(connections)]
        total = self._left = int(rate * seconds)
        number, began = 0, time.perf_counter()
        while number < total:
            due_by_now = int((time.perf_counter() - began) * rate) + 1
            for place in range(number, min(total, due_by_now, number + AT_ONCE)):
                self._send_somehow(began + place / rate)
                number = place + 1
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        self.load.sent_s = time.perf_counter() - began
        await asyncio.wait_for(self._all_answered.wait(), PATIENCE_S)
        self.load.seconds = time.perf_counter() - began
        for connection in self._free:
            connection.close()
        return self.load

    def _send_somehow(self, due: float) -> None:
        """Send on a free connection, or on a new one if all are busy."""
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                self._send(connection, due)
                return
        task = asyncio.create_task(self._send_on_a_new_one(due))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _send_on_a_new_one(self, due: float) -> None:
        try:
            self._send(await Connection.open(*self._address), due)
        except OSError:
            self._note(BROKEN, due)

    def _send(self, connection: Connection, due: float) -> None:
        def note(answer: Answer) -> None:
            self._note(answer, due)
            if connection.is_open:
                self._free.append(connection)

        connection.send(self._request, note)

    def _note(self, answer: Answer, due: float) -> None:
        self.load.note(answer, time.perf_counter() - due)
        self._left -= 1
        if not self._left:
            self._all_answered.set()


async def open_loop(
    url: str, request: bytes, rate: float, seconds: float, connections: int = 512
) -> Load:
    """Send at a constant rate, on connections opened before, and more if all are busy."""
    return await OpenLoop(url, request).run(rate, seconds, connections)
