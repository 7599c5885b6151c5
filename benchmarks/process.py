"""Start a server for a measurement, pin it to cores, and read what it costs."""

import contextlib
import http.client
import json
import os
import platform
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.installed import versions

RESULTS = Path(__file__).parent / "results"
NO_RESULTS = ":(exclude)benchmarks/results"
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "fastapi", "uvicorn", "pillow", "numpy")
START_S = 300.0
"""For a server to answer; Ray takes a minute on a busy machine."""
TICK = os.sysconf("SC_CLK_TCK")


def processes_from(pid: int) -> list[int]:
    """List a process, its children, theirs and so on."""
    found = [pid]
    for each in found:  # it grows meanwhile
        with contextlib.suppress(OSError):  # the process has ended
            for children in Path(f"/proc/{each}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Add up the processor seconds of processes so far; see proc(5), `stat`."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])  # user and system
    return ticks / TICK


class Process:
    """A server and its children, as the operating system sees them."""

    def __init__(
        self,
        started: "subprocess.Popen[bytes]",
        port: int,
        ready_s: float,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.started = started
        self.port = port
        self.ready_s = ready_s
        self.context = context  # for clients, if it speaks TLS

    def url(self, path: str) -> str:
        """Give the address of a route."""
        return f"http{'s' if self.context else ''}://127.0.0.1:{self.port}{path}"

    def cpu_s(self) -> float:
        """Processor seconds of all processes so far."""
        return cpu_s(processes_from(self.started.pid))

    def resident_bytes(self) -> int:
        """Resident memory of all processes, shared pages counted in each."""
        pids = processes_from(self.started.pid)
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    cores: set[int] | None = None,
    ready_path: str = "/readyz",
    port_variable: str = "RESNET_PORT",
) -> Iterator[Process]:
    """Start a server on a free port, wait until it answers, and end it afterwards."""
    cert = (environment or {}).get("RESNET_TLS_CERT")
    context = None if cert is None else ssl.create_default_context(cafile=cert)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    began = time.perf_counter()
    started = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {}), port_variable: str(port)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # so that whatever it started can be ended with it
        preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509
    )
    try:
        while not _answers(port, ready_path, context):
            if started.poll() is not None or time.perf_counter() - began > START_S:
                raise RuntimeError(f"{' '.join(command)} did not start")
            time.sleep(0.02)
        yield Process(started, port, time.perf_counter() - began, context)
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(timeout=60)
        finally:  # some servers leave processes behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


def _answers(port: int, path: str, context: ssl.SSLContext | None) -> bool:
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        if context is None
        else http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def ours(**settings: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of our own server."""
    environment = {f"RESNET_{name.upper()}": value for name, value in settings.items()}
    return [sys.executable, "-c", "from service.cli import serve; serve()"], environment


def pin_to(cores: set[int]) -> None:
    """Keep this process, which makes the load, on some cores."""
    os.sched_setaffinity(0, cores)


def commit() -> str | None:
    """Name the project's commit, with `-dirty` if its files were changed; None outside git.

    Results do not count: each benchmark of `make bench` would mark those after it.
    """
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", NO_RESULTS)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-dirty" if changed else head


def _git(*arguments: str) -> str:
    command, root = ["git", *arguments], RESULTS.parents[1]
    return subprocess.check_output(
        command, cwd=root, text=True, stderr=subprocess.DEVNULL, timeout=10
    ).strip()


def machine() -> dict[str, object]:
    """Say where a measurement was made, and of which code, for its result."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_result(
    name: str, measured: object, peers: Mapping[str, Mapping[str, str]] | None = None
) -> Path:
    """Keep a measurement beside the others, as JSON.

    Args:
        name: Of the file.
        measured: The figures.
        peers: Versions of each other server that was measured.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    about = machine() if peers is None else {**machine(), "peers": peers}
    path.write_text(json.dumps({"machine": about, "measured": measured}, indent=1) + "\n")
    return path
