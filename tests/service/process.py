"""The service as its user starts it: the command `serve-model` in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

ROOT = Path(__file__).parents[2]
COMMAND = Path(sysconfig.get_path("scripts")) / "serve-model"


@dataclass(frozen=True)
class Running:
    """A process that serves, and what it wrote to stderr."""

    process: subprocess.Popen[bytes]
    port: int
    written: IO[bytes]
    ready_after_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stderr(self) -> str:
        return Path(self.written.name).read_text()

    def connect(self) -> socket.socket:
        """Open a connection for what no HTTP client would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def environ() -> dict[str, str]:
    """This process's environment, in which commands import the code beside these tests."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@contextmanager
def serve_model(**settings: str) -> Iterator[Running]:
    """Start the command with settings in its environment, and wait until it is ready."""
    port = free_port()
    given = {f"RESNET_{name.upper()}": value for name, value in settings.items()}
    environment = {**environ(), "RESNET_PORT": str(port), "RESNET_INTRA_OP_THREADS": "1", **given}
    with tempfile.NamedTemporaryFile() as written:
        began = time.perf_counter()
        process = subprocess.Popen(
            [COMMAND], cwd=ROOT, env=environment, stderr=written, start_new_session=True
        )
        try:
            _wait_until_ready(process, int(settings.get("metrics_port", port)), began + 60)
            yield Running(process, port, written, time.perf_counter() - began)
        finally:
            with suppress(ProcessLookupError):  # its workers, too
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run_command(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; on a free port, since somebody may serve on the usual one."""
    given = {f"RESNET_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env={**environ(), "RESNET_PORT": "0", **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, until: float) -> None:
    while True:
        assert process.poll() is None, "The service ended before it was ready."
        assert time.perf_counter() < until, "The service did not become ready."
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)


def read_answer(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    answer = b""
    while received := connection.recv(65_536):
        answer += received
    return answer


def read_response(connection: socket.socket) -> bytes:
    """Read one response to the end of its body; shorter where the other side closes."""
    answer = b""
    while (missing := _missing(answer)) and (received := connection.recv(missing)):
        answer += received
    return answer


def _missing(answer: bytes) -> int:
    """How much of a response can still be read without reading of the next one."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return 1
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return int(length[1]) - len(body) if length else 0
