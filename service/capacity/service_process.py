"""The service that is measured: one process on cores of its own, and what it used so far."""

import ctypes
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from service.errors import StartError
from service.settings import PREFIX

START_S = 120.0
POLL_S = 0.05
KEPT = (
    "PRECISION",
    "PROVIDER",
    "PROVIDER_POLICY",
    "MAX_BATCH_SIZE",
    "CONCURRENT_RUNS",
    "INTRA_OP_THREADS",
    "DECODE_ISOLATION",
    "MAX_BODY_BYTES",
    "MAX_PIXELS",
    "ACCESS_LOG",
    "ACCESS_LOG_SAMPLE",
    "LOG_LEVEL",
    "LOG_FORMAT",
)
"""Settings of the environment that change what a request costs. No other is passed on, so that no
key, certificate or limit stands in the way."""
BATCHES = re.compile(r"^resnet_batch_size_images_(count|sum) (\S+)", re.M)


class ServiceProcess:
    """A service that listens on a port of this machine."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: IO[bytes]) -> None:
        self.port = port
        self._process, self._log = process, log
        self._libc = ctypes.CDLL(None)

    def cpu_s(self) -> float:
        """Processor time of all of its threads so far, by POSIX's `clock_getcpuclockid`."""
        clock = ctypes.c_int()
        if self._libc.clock_getcpuclockid(self._process.pid, ctypes.byref(clock)):
            raise StartError("The measured service has ended.")
        return time.clock_gettime(clock.value)

    def batches(self) -> tuple[int, int]:
        """Batches that its engine ran so far, and the images in them."""
        found = {name: float(value) for name, value in BATCHES.findall(self._get("/metrics"))}
        return int(found["count"]), int(found["sum"])

    def architecture(self) -> dict[str, Any]:
        """What it says about its model, and how that is run."""
        found: dict[str, Any] = json.loads(self._get("/architecture"))
        return found

    def wait_until_ready(self) -> None:
        """Wait until it answers.

        Raises:
            StartError: If it ends before, with its own reason, or takes too long.
        """
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                self._log.seek(0)
                lines = self._log.read().decode(errors="replace").splitlines() or ["no reason"]
                raise StartError(lines[-1].removeprefix("error: "))
            try:
                self._get("/livez")
            except OSError:
                time.sleep(POLL_S)
            else:
                return
        raise StartError(f"The service did not start within {START_S:g} s.")

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


@contextmanager
def started(settings: Mapping[str, object], cores: Collection[int]) -> Iterator[ServiceProcess]:
    """Serve until the context ends.

    Args:
        settings: By the name of their variable, without the prefix.
        cores: That the service may use.

    Raises:
        StartError: If it does not start.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not _is_left_out(name)}
    given = {"HOST": "127.0.0.1", "PORT": port, "DRAIN_DELAY_S": 0, **settings}
    environment |= {PREFIX + name: str(value) for name, value in given.items()}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from service.cli import serve; serve()"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            os.sched_setaffinity(process.pid, cores)  # long before it starts its first thread
            service = ServiceProcess(process, port, log)
            service.wait_until_ready()
            yield service
        finally:
            process.terminate()
            process.wait()


def _is_left_out(name: str) -> bool:
    setting = name.upper()  # the service reads its variables in any case
    return setting.startswith(PREFIX) and setting.removeprefix(PREFIX) not in KEPT
