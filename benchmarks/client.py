"""A load generator that costs little: raw HTTP/1.1 over asyncio, requests prepared once.

Closed loop: each connection sends its next request when it has its answer; for an open
loop see `benchmarks.open_loop`.
"""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Self, cast
from urllib.parse import urlsplit

SAMPLE = 16
"""Of so many answers one has its stages read: the load must cost less than the server."""


@dataclass
class Load:
    """What came back.

    Attributes:
        seconds: From the first request to the last answer.
        sent_s: From the first request to the last, in an open loop.
        latencies: Of answers with status 200, in seconds.
        refusals: Of all others, in seconds.
        statuses: How often each status came; 0 is a broken connection.
        stages: Server-Timing of some of the answers, in milliseconds.
    """

    seconds: float = 0.0
    sent_s: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    stages: dict[str, list[float]] = field(default_factory=dict)
    without_retry_after: int = 0

    def note(self, answer: "Answer", latency_s: float) -> None:
        """Count one answer."""
        self.statuses[answer.status] += 1
        (self.latencies if answer.status == 200 else self.refusals).append(latency_s)
        if answer.status == 503 and b"retry-after" not in answer.head.lower():
            self.without_retry_after += 1
        if self.statuses.total() % SAMPLE:
            return
        for stage, milliseconds in answer.timings().items():
            self.stages.setdefault(stage, []).append(milliseconds)

    @property
    def per_second(self) -> float:
        """Answers with status 200 a second."""
        return len(self.latencies) / self.seconds

    def percentile_ms(self, percent: int, *, refused: bool = False) -> float:
        """A percentile of the latencies, in milliseconds."""
        return 1000 * percentile(self.refusals if refused else self.latencies, percent)


def percentile(values: Sequence[float], percent: int) -> float:
    """Give a percentile, of one value that value; of none there is no number."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return quantiles(values, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True)
class Answer:
    """Status and head of one response."""

    status: int
    head: bytes

    def timings(self) -> dict[str, float]:
        """Read Server-Timing."""
        for line in self.head.split(b"\r\n"):
            if line.lower().startswith(b"server-timing:"):
                parts = line.split(b":", 1)[1].decode().split(",")
                pairs = (part.strip().split(";dur=") for part in parts if ";dur=" in part)
                return {name: float(value) for name, value in pairs}
        return {}


BROKEN = Answer(0, b"")


class Connection(asyncio.Protocol):
    """One keep-alive connection; `ask` sends a request and waits for its answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._then: Callable[[Answer], None] | None = None

    @classmethod
    async def open(cls, host: str, port: int, context: ssl.SSLContext | None = None) -> Self:
        """Connect, with TLS if there is a context."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, host, port, ssl=context)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether a further request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no such class

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        at = head.lower().find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._received) >= end + 4 + length:
            del self._received[: end + 4 + length]
            if b"connection: close" in head.lower() and self._transport is not None:
                self._transport.close()
            self._tell(Answer(int(head[9:12]), head))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Call back with the answer."""
        self._tell(BROKEN)

    def _tell(self, answer: Answer) -> None:
        if self._then is not None:
            then, self._then = self._then, None
            then(answer)

    def send(self, request: bytes, then: Callable[[Answer], None]) -> None:
        """Send, and wait for the answer."""
        self._then = then
        if self._transport is None or not self.is_open:
            self._tell(BROKEN)
        else:
            self._transport.write(request)

    async def ask(self, request: bytes) -> Answer:
        """Send and wait."""
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def tell(answer: Answer) -> None:
            if not waiter.done():
                waiter.set_result(answer)

        self.send(request, tell)
        return await waiter

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.abort()


def prepare(url: str, body: bytes, content_type: str = "image/png", headers: str = "") -> bytes:
    """Write a POST request as it goes over the wire."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return (
        f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    ).encode() + body


async def closed_loop(url: str, request: bytes, connections: int, seconds: float) -> Load:
    """Ask on so many connections at once, for so long."""
    parts, load = urlsplit(url), Load()
    end = time.perf_counter() + seconds
    began = time.perf_counter()

    async def one() -> None:
        connection = await Connection.open(parts.hostname or "", parts.port or 80)
        while (now := time.perf_counter()) < end:
            answer = await connection.ask(request)
            load.note(answer, time.perf_counter() - now)
            if not connection.is_open:
                connection = await Connection.open(parts.hostname or "", parts.port or 80)
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    load.seconds = time.perf_counter() - began
    return load


class Clients:
    """Connections that ask on and on, and count what became of each request.

    A connection that is neither refused nor made counts as a broken one.
    """

    def __init__(
        self, url: str, payload: bytes, number: int, context: ssl.SSLContext | None = None
    ) -> None:
        """Prepare; `ask` runs until it is cancelled or the port is closed."""
        self._port = urlsplit(url).port or 80
        self._context = context
        self.statuses: Counter[int] = Counter()
        self._request = prepare(url, payload)
        self._number = number

    async def ask(self) -> None:
        """Ask on all connections; half of them are made anew for each request."""
        await asyncio.gather(*(self._one(keep=number % 2 == 0) for number in range(self._number)))

    async def _one(self, *, keep: bool) -> None:
        connection: Connection | None = None
        while True:
            if connection is None or not connection.is_open or not keep:
                if connection is not None:
                    connection.close()
                try:
                    connection = await Connection.open("127.0.0.1", self._port, self._context)
                except ConnectionRefusedError:  # the client knows that nothing was accepted
                    return
                except OSError:
                    self.statuses[0] += 1
                    return
            self.statuses[(await connection.ask(self._request)).status] += 1
