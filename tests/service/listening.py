"""uvicorn in a thread of this process, with a gate in place of its engine."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.app import create_app
from service.inference.admission import Admission
from service.inference.batcher import Batcher
from service.registry.classifier import Classifier
from service.server.listen import bind
from service.server.server import Server, configure
from service.settings import Settings
from tests.service.conftest import LEAN, Gate, replace_engine
from tests.service.images import BLACK

HEAD = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BLACK)}\r\n"
REQUEST = HEAD.encode() + b"\r\n" + BLACK


@dataclass(frozen=True)
class Listening:
    """A server that listens, with its application and gate."""

    server: Server
    gate: Gate

    @property
    def classifier(self) -> Classifier:
        """The default model."""
        classifier = self.server.state.models.find()
        assert isinstance(classifier, Classifier)
        return classifier

    @property
    def batcher(self) -> Batcher:
        return self.classifier.batcher

    @property
    def admission(self) -> Admission:
        return self.classifier.admission

    @property
    def port(self) -> int:
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@contextmanager
def listen(
    artifact: Path, loop: str = "auto", *, has_gate: bool = True, **changes: Any
) -> Iterator[Listening]:
    """Start a server, and end it when the gate has let all through; without it, the engine runs."""
    given = {
        **LEAN,
        "port": 0,
        "drain_delay_s": 0,
        "max_batch_size": 1,
        "reload_interval_s": 0,
        **changes,
    }
    settings = Settings(artifact=artifact, **given)
    app = create_app(settings)
    gate = Gate()
    if has_gate:
        replace_engine(app, gate)
    running = Server(configure(settings, app, loop=loop))
    with bind(settings) as sockets:
        thread = threading.Thread(target=running.run, args=(sockets,))
        thread.start()
        wait_until(lambda: running.started and bool(running.servers))
        try:
            yield Listening(running, gate)
        finally:  # a failed test must not leave the thread behind, for which Python would wait
            gate.let_through(99)
            running.handle_exit(signal.SIGTERM, None)
            thread.join(10)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.perf_counter() + 10
    while not condition():
        assert time.perf_counter() < until
        time.sleep(0.01)
