"""Clients that send requests continuously, and record the responses."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from tests.service.images import BLACK


class Load:
    """What all clients saw: statuses, models, and what broke while a request was in flight.

    A connection that is refused was never accepted: the client knows that nothing was lost.
    """

    def __init__(self, port: int, *, keeps_alive: bool) -> None:
        self.port = port
        self.keeps_alive = keeps_alive
        self.statuses: Counter[int] = Counter()
        self.broken: list[str] = []
        self.refused = 0
        self.is_over = threading.Event()
        self._lock = threading.Lock()

    def ask_on_and_on(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.is_over.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                try:
                    connection.connect()
                except OSError:
                    with self._lock:
                        self.refused += 1
                    connection = None
                    time.sleep(0.02)
                    continue
            connection = self._ask(connection)
            time.sleep(0.003)  # leave the machine some room
        if connection is not None:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> http.client.HTTPConnection | None:
        """Ask once; give the connection back if it may be used again."""
        goes_on = False
        try:
            connection.request("POST", "/predict", BLACK, {"Content-Type": "image/png"})
            response = connection.getresponse()
            response.read()
            goes_on = self.keeps_alive and not response.will_close
            with self._lock:
                self.statuses[response.status] += 1
        except (OSError, http.client.HTTPException) as error:
            with self._lock:
                self.broken.append(repr(error))
        if goes_on:
            return connection
        connection.close()
        return None


@contextmanager
def load(port: int, clients: int = 4) -> Iterator[list[Load]]:
    """Ask with fresh connections and with lasting ones, until the block ends."""
    loads = [Load(port, keeps_alive=keeps_alive) for keeps_alive in (False, True)]
    with ThreadPoolExecutor(clients) as threads:
        running: list[Future[None]] = [
            threads.submit(loads[number % 2].ask_on_and_on) for number in range(clients)
        ]
        try:
            yield loads
        finally:
            for each in loads:
                each.is_over.set()
        for client in running:
            client.result()
