"""Several processes on one port: for networks so small that Python is the limit.

uvicorn's supervisor starts the workers, asks each every half second whether it still
answers, replaces a dead one, and passes the end on. Ours has them run our own server,
keeps one set of metrics over all, passes SIGHUP on, and replaces workers that stand still.
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
from socket import socket
from weakref import WeakSet

from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.errors import StartError
from service.log import log
from service.server.server import Server, configure
from service.settings import MULTIPROCESS_FOLDER, Settings

RETRY_S = 5.0
"""Between two tries to start workers that end before they are ready, while others serve."""
AWAKE_S = 1.0
"""For an event loop that a machine held up, and not its own work, to take a turn."""


class Worker(Process):
    """A process that runs our server."""

    @property
    def server(self) -> Server:
        """The server; made when it is asked for, in the worker's process."""
        if self._server is None:
            self._server = Server(self.config)
        if not isinstance(self._server, Server):  # pragma: no cover  # only we set it
            raise TypeError("the worker's server is not ours")
        return self._server

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve; the whole life of the worker's process. One that cannot start exits with 3."""
        self._server = Server(self.config)  # now: two threads are about to ask for it at once
        try:
            super().target(sockets)
        except StartError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(STARTUP_FAILURE)

    def pong(self) -> None:
        """Answer the supervisor once; one that stands still does not, and is replaced.

        uvicorn's own answer comes from a thread of its own, whatever the event loop does.
        """
        self.child_conn.recv()
        if self.server.is_stuck:
            time.sleep(AWAKE_S)
        if not self.server.is_stuck:
            self.child_conn.send(self.server.started)


class Supervisor(Multiprocess):
    """uvicorn's supervisor over our workers.

    Args:
        config: Says how many.
        sockets: Bound; each worker listens beside them.
    """

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        """Take over the signals; nothing is started yet."""
        super().__init__(config, sockets)
        self.failed = False
        self._has_served = False
        self._next_try = 0.0
        self._ready = WeakSet[Process]()
        self._untold = WeakSet[Process]()

    def init_processes(self) -> None:
        """Start all workers."""
        self.processes = [self._start() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or hang; end if one cannot start and none ever did.

        Where others serve, a worker that cannot start, say for a damaged artifact or for want of
        memory, is tried again now and then.
        """
        if self.should_exit.is_set():
            return
        gone = [worker for worker in self.processes if not self._looks_alive(worker)]
        if self.signal_queue:  # perhaps all were told to end, and these have done so
            return
        for worker in gone:
            is_early = worker.exitcode is not None and worker not in self._ready
            worker.kill()
            worker.join()
            if worker.pid is not None:
                mark_process_dead(worker.pid)
            fields = {"pid": worker.pid, "exit_code": worker.exitcode}
            if is_early and not self._has_served:
                log.error("worker could not start", extra={"fields": fields})
                self.failed = True
                self.should_exit.set()
                return
            if is_early:
                if time.monotonic() < self._next_try:
                    continue
                self._next_try = time.monotonic() + RETRY_S
            log.warning("worker replaced", extra={"fields": fields})
            self.processes[self.processes.index(worker)] = self._start()

    def _looks_alive(self, worker: Process) -> bool:
        """Ask a worker, and note when it is ready; the look after that it takes SIGHUP, too."""
        if not worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
            return False
        if worker in self._ready:
            if worker in self._untold:
                self._untold.remove(worker)
                _send_hup(worker)
        elif worker.is_ready():
            self._has_served = True
            self._ready.add(worker)
        return True

    def terminate_all(self) -> None:
        """Pass the end on, and let go of the port, which nobody here accepts from."""
        for sock in self.sockets:
            sock.close()
        super().terminate_all()

    def handle_hup(self) -> None:
        """Have every worker look for a new version of its model; one that loads it, afterwards.

        The signal would end a process that is still importing, and one that reads its model
        passes it over.
        """
        for worker in self.processes:
            if worker in self._ready:
                _send_hup(worker)
            else:
                self._untold.add(worker)

    def handle_ttin(self) -> None:
        """Add a worker, of our own kind."""
        self.processes_num += 1
        self.processes.append(self._start())

    def _start(self) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker


def _send_hup(worker: Process) -> None:
    if worker.pid is not None and worker.exitcode is None:
        with contextlib.suppress(ProcessLookupError):  # it died this very moment
            os.kill(worker.pid, signal.SIGHUP)


def run_workers(settings: Settings, workers: int, sock: socket) -> bool:
    """Serve with several processes until SIGTERM or Ctrl+C.

    Args:
        settings: Of each.
        workers: How many.
        sock: Bound; workers listen beside it.

    Returns:
        Whether it was a clean end; False if a worker could not start.
    """
    config = configure(settings, "service.app:worker_app", factory=True, workers=workers)
    with tempfile.TemporaryDirectory(prefix="resnet-metrics-") as folder:
        os.environ[MULTIPROCESS_FOLDER] = folder
        supervisor = Supervisor(config, [sock])
        try:
            supervisor.run()
        except BaseException:  # whatever it was, nobody is left to look after the workers
            supervisor.terminate_all()
            supervisor.join_all()
            raise
    return not supervisor.failed
