"""Clients that ask on and on, and remember when each request began and how it ended."""

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple


class Asked(NamedTuple):
    """One request; status 0 is a broken connection."""

    began: float
    ended: float
    status: int
    answer: str


class Clients:
    """What all clients saw.

    Args:
        port: On loopback.
        body: Of each request.
        content_type: Of the body.
    """

    def __init__(self, port: int, body: bytes, content_type: str) -> None:
        self.port = port
        self.asked: list[Asked] = []
        self.is_over = threading.Event()
        self._body = body
        self._headers = {"Content-Type": content_type}

    @property
    def lost(self) -> list[Asked]:
        return [each for each in self.asked if each.status != 200]

    def ask_on_and_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while not self.is_over.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", "/predict", self._body, self._headers)
                response = connection.getresponse()
                status, answer = response.status, response.read().decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                status, answer = 0, repr(error)
                connection.close()
            self.asked.append(Asked(began, time.monotonic(), status, answer[:300]))
            time.sleep(0.002)  # leave the machine some room
        connection.close()


@contextmanager
def clients(
    port: int, body: bytes, content_type: str = "image/png", count: int = 4
) -> Iterator[Clients]:
    """Ask with so many connections that stay open, until the block ends."""
    found = Clients(port, body, content_type)
    with ThreadPoolExecutor(count) as threads:
        running = [threads.submit(found.ask_on_and_on) for _ in range(count)]
        try:
            yield found
        finally:
            found.is_over.set()
        for each in running:
            each.result()
