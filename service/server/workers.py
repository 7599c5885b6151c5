"""Several processes on one port, for networks so small that Python is the limit.

uvicorn's supervisor starts the workers, checks every half second that each one answers, replaces a
dead one, and ends them all. Ours has them run our own server, passes SIGHUP on, replaces workers
that are stalled, and keeps serving when a worker cannot be started beside others.
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from socket import AF_UNIX, socket
from typing import cast

from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.errors import StartError
from service.log import log
from service.server.listen import drop_new_connections, is_listening
from service.server.server import Server, configure
from service.settings import MULTIPROCESS_FOLDER, PREFIX, Settings

RETRY_S = 5.0
"""Between two tries to start a worker that ends before it is ready, while others serve."""
WAKE_S = 1.0
"""For an event loop that the machine has paused, and that is not stalled, to run again."""

START_S = 120.0
"""For a process to import and load; on a busy machine that takes many times longer than alone."""


class Worker(Process):
    """A process that runs our server.

    Attributes:
        was_ready: It has finished its startup; known to the supervisor.
        reload_pending: It is to be sent SIGHUP when it is ready.
    """

    was_ready = False
    reload_pending = False

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._began = time.monotonic()

    def is_alive(self, timeout: float = 5) -> bool:
        """Whether it answers in time; one that is starting need not, it has `START_S`."""
        if self.was_ready or time.monotonic() > self._began + START_S:
            return super().is_alive(timeout)
        return self.process.is_alive()

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve: what the worker's process runs. The exit code is 3 if it cannot start."""
        self._server = Server(self.config)  # in place of uvicorn's own
        try:
            super().target(sockets)
        except StartError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(STARTUP_FAILURE)

    def pong(self) -> None:
        """Answer one health check, unless the server is stalled: then it is replaced.

        uvicorn's own answer comes from a thread, whatever the event loop does.
        """
        server = cast(Server, self.server)
        self.child_conn.recv()
        if server.is_stalled:
            time.sleep(WAKE_S)
        if not server.is_stalled:
            self.child_conn.send(server.started)


class Supervisor(Multiprocess):
    """uvicorn's supervisor, with our workers.

    Args:
        config: Says how many.
        sockets: Bound; each worker listens on the same port.
        devices: GPUs by index, dealt out to the workers in turn; none: they use the CPU.
    """

    processes: list[Worker]  # type: ignore[assignment]  # uvicorn's are of its own kind

    def __init__(self, config: Config, sockets: list[socket], devices: Sequence[int] = ()) -> None:
        super().__init__(config, sockets)
        self._devices = devices
        self._unix = [sock for sock in sockets if sock.family == AF_UNIX and not is_listening(sock)]
        self.failed = False
        self._has_served = False
        self._next_try = 0.0

    def init_processes(self) -> None:
        """Start all workers."""
        self.processes = [self._start(place) for place in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or are stalled; end if one cannot start and none ever served.

        While others serve, a worker that cannot start, because of a damaged artifact or for lack
        of memory, is tried again every few seconds. uvicorn would end them all.
        """
        if self.should_exit.is_set():
            return
        dead = [worker for worker in self.processes if not self._check(worker)]
        if self.signal_queue:  # perhaps all were asked to end, and these have done so
            return
        for worker in dead:
            never_ready = worker.exitcode is not None and not worker.was_ready
            worker.kill()
            worker.join()
            if worker.pid is not None:
                mark_process_dead(worker.pid)
            fields = {"pid": worker.pid, "exit_code": worker.exitcode}
            if never_ready and not self._has_served:
                log.error("worker could not start", extra={"fields": fields})
                self.failed = True
                self.should_exit.set()
                return
            if never_ready:
                if time.monotonic() < self._next_try:
                    continue
                self._next_try = time.monotonic() + RETRY_S
            log.warning("worker replaced", extra={"fields": fields})
            place = self.processes.index(worker)
            self.processes[place] = self._start(place)

    def _check(self, worker: Worker) -> bool:
        """Return whether a worker answers; note when it is ready, and send a pending SIGHUP."""
        if not worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
            return False
        if worker.was_ready and worker.reload_pending:  # ready since the last check at least
            worker.reload_pending = False
            _send_hup(worker)
        if not worker.was_ready and worker.is_ready():
            worker.was_ready = self._has_served = True
        return True

    def terminate_all(self) -> None:
        """End all workers, and close the port, from which nothing is accepted here.

        A worker cannot know whether others still listen on the Unix socket that they share.
        """
        while self._unix:
            drop_new_connections(self._unix.pop())
        for sock in self.sockets:
            sock.close()
        super().terminate_all()

    def handle_hup(self) -> None:
        """Have every worker check for new versions; one that is still loading does so later.

        The signal would end a process that is still importing, and is ignored by one that loads.
        """
        for worker in self.processes:
            if worker.was_ready:
                _send_hup(worker)
            else:
                worker.reload_pending = True

    def handle_ttin(self) -> None:
        """Add a worker, of our own class."""
        self.processes_num += 1
        self.processes.append(self._start(len(self.processes)))

    def _start(self, place: int) -> Worker:
        if self._devices:  # the worker reads it with its other settings
            device = self._devices[place % len(self._devices)]
            os.environ[PREFIX + "DEVICE_IDS"] = str(device)
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker


def _send_hup(worker: Process) -> None:
    if worker.pid is not None and worker.exitcode is None:
        with contextlib.suppress(ProcessLookupError):  # it died this very moment
            os.kill(worker.pid, signal.SIGHUP)


def run_workers(
    settings: Settings, workers: int, sockets: list[socket], devices: Sequence[int] = ()
) -> bool:
    """Serve with several processes until SIGTERM or Ctrl+C.

    Args:
        settings: Of each.
        workers: How many.
        sockets: Bound; workers listen on the same ports.
        devices: GPUs by index, dealt out to the workers in turn.

    Returns:
        Whether it ended as it should; False if a worker could not start.
    """
    config = configure(settings, "service.app:worker_app", factory=True, workers=workers)
    with tempfile.TemporaryDirectory(prefix="resnet-metrics-") as folder:
        os.environ[MULTIPROCESS_FOLDER] = folder
        supervisor = Supervisor(config, sockets, devices)
        try:
            supervisor.run()
        except BaseException:  # nothing else would end the workers
            supervisor.terminate_all()
            supervisor.join_all()
            raise
    return not supervisor.failed
