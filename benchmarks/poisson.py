"""Requests that arrive by chance, sent to the microsecond: for latencies of a few milliseconds.

`benchmarks.open_loop` waits on an event loop, whose timers tick in milliseconds. Here one thread
waits in `select`, sends what is due and reads what has come. Latency counts from the moment a
request was due.
"""

import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CONNECTIONS = 32
"""To each server, opened before; there are more if all are busy."""
PATIENCE_S = 30.0
"""For the last answers."""

Seconds = NDArray[np.float64]


def arrivals(rate: float, seconds: float, seed: int) -> Seconds:
    """Draw the moments of arrival of so many requests a second, on average."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds))
    return np.cumsum(gaps)


@dataclass
class Answers:
    """What came back.

    Attributes:
        latencies: Of answers with status 200, in seconds from when they were due.
        late: Of each request, how long after it was due it was sent.
        statuses: How often each status came.
    """

    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the latencies."""
        return 1000 * float(np.percentile(self.latencies, percent))

    @property
    def mean_ms(self) -> float:
        """Of the latencies."""
        return 1000 * float(np.mean(self.latencies))


class _Connection:
    """One that is kept alive, and the request that it waits for."""

    def __init__(self, port: int, server: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server, self.due, self._received = server, 0.0, b""

    def fileno(self) -> int:
        """For `select`."""
        return self.socket.fileno()

    def read(self) -> int | None:
        """Read what has come; the status, if the answer is whole."""
        received = self.socket.recv(65_536)
        if not received:
            raise ConnectionError("The server has closed a connection that it was to keep.")
        self._received += received
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0]
        if not length or len(body) < int(length):
            return None
        self._received = b""
        return int(head[9:12])


def send(ports: Sequence[int], request: bytes, due: Seconds) -> Answers:
    """Send a request at each moment, to the servers in turn, and wait for all answers.

    Args:
        ports: Of the servers, on this machine.
        request: As it goes over the wire.
        due: Seconds from now, ascending.
    """
    # In rotation: the server closes a connection on which nothing comes.
    free = [
        deque(_Connection(port, at) for _ in range(CONNECTIONS)) for at, port in enumerate(ports)
    ]
    busy: set[_Connection] = set()
    answers, began, number = Answers(), time.perf_counter(), 0
    moments = (began + due).tolist()
    while number < len(moments) or busy:
        now = time.perf_counter()
        while number < len(moments) and moments[number] <= now:
            at = number % len(ports)
            connection = free[at].popleft() if free[at] else _Connection(ports[at], at)
            connection.due = moments[number]
            connection.socket.sendall(request)
            answers.late.append(time.perf_counter() - connection.due)
            busy.add(connection)
            number += 1
        until = moments[number] if number < len(moments) else now + PATIENCE_S
        ready, _, _ = select.select(busy, (), (), max(0.0, until - time.perf_counter()))
        if not ready and number == len(moments):
            raise TimeoutError(f"{len(busy)} requests are not answered.")
        for connection in ready:
            if (status := connection.read()) is not None:
                if status == 200:
                    answers.latencies.append(time.perf_counter() - connection.due)
                answers.statuses[status] += 1
                busy.remove(connection)
                free[connection.server].append(connection)
    for connection in (each for connections in free for each in connections):
        connection.socket.close()
    return answers
