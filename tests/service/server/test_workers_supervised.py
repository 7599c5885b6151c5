"""How the supervisor reacts to the ends of its workers, with fake processes."""

import logging
import os
import signal
import socket
from collections.abc import Iterator

import pytest
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Process

from service.server import workers as supervisor
from service.server.server import Server, configure
from service.server.workers import Supervisor, Worker
from service.settings import Settings


class StandIn(Worker):
    """A worker without a process."""

    def __init__(
        self, exit_code: int | None = None, *, is_ready: bool = True, hangs: bool = False
    ) -> None:
        self.code = exit_code
        self.ready = is_ready
        self.hangs = hangs
        self.ended: list[str] = []

    @property
    def pid(self) -> int | None:
        return os.getpid()

    @property
    def exitcode(self) -> int | None:
        return self.code

    def is_alive(self, timeout: float = 5) -> bool:  # noqa: ARG002
        return self.code is None and not self.hangs

    def is_ready(self, timeout: float = 5) -> bool:  # noqa: ARG002
        return self.ready

    def kill(self) -> None:
        self.ended.append("kill")
        self.code = -signal.SIGKILL if self.code is None else self.code

    def join(self) -> None:
        self.ended.append("join")

    def terminate(self) -> None:
        self.ended.append("terminate")


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """A supervisor over two workers that serve; others that it starts are fake, too."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    config = configure(Settings(), "service.app:worker_app", factory=True, workers=2)
    made = Supervisor(config, [socket.socket()])
    monkeypatch.setattr(supervisor, "mark_process_dead", lambda _: None)
    monkeypatch.setattr(made, "_start", lambda _place: StandIn())
    made.init_processes()
    yield made
    for sock in made.sockets:
        sock.close()
    for number, handler in handlers.items():
        if number not in {signal.SIGKILL, signal.SIGSTOP} and handler is not None:
            signal.signal(number, handler)


def test_gpus_are_dealt_out_in_turn_and_a_replaced_worker_keeps_its_own(
    watching: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    class Starting(StandIn):
        def __init__(self, *_: object) -> None:
            super().__init__()

        def start(self) -> None:
            started.append(os.environ["RESNET_DEVICE_IDS"])

    monkeypatch.setenv("RESNET_DEVICE_IDS", "1,3")
    monkeypatch.setattr(supervisor, "Worker", Starting)
    made = Supervisor(watching.config, watching.sockets, devices=(1, 3))
    made.processes_num = 3

    made.init_processes()
    made.processes[1].kill()
    made.keep_subprocess_alive()
    made.handle_ttin()

    assert started == ["1", "3", "1", "3", "3"]


def test_workers_that_serve_are_left_alone(watching: Supervisor) -> None:
    before = [*watching.processes]

    watching.keep_subprocess_alive()

    assert watching.processes == before
    assert not watching.failed


@pytest.mark.parametrize("code", [-9, 1])
def test_a_dead_worker_is_replaced(code: int, watching: Supervisor) -> None:
    dead = watching.processes[1] = StandIn(code)

    watching.keep_subprocess_alive()

    assert watching.processes[1] is not dead
    assert dead.ended == ["kill", "join"]
    assert not watching.should_exit.is_set()


def test_a_worker_that_is_starting_has_more_time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(configure(Settings(), "service.app:worker_app", factory=True), [])
    monkeypatch.setattr(worker.process, "is_alive", lambda: True)
    monkeypatch.setattr(Process, "ping", lambda *_: False)
    starting = worker.is_alive()
    monkeypatch.setattr(supervisor, "START_S", -1.0)
    overdue = worker.is_alive()
    monkeypatch.setattr(supervisor, "START_S", 60.0)
    worker.was_ready = True

    assert (starting, overdue, worker.is_alive()) == (True, False, False)


EARLY_ENDS = pytest.mark.parametrize("code", [STARTUP_FAILURE, 1, 0, -signal.SIGKILL])


@EARLY_ENDS
def test_a_worker_that_ends_before_it_is_ready_ends_a_service_that_never_served(
    code: int, watching: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    watching.processes[:] = [StandIn(is_ready=False), StandIn(code)]

    watching.keep_subprocess_alive()

    assert watching.failed
    assert watching.should_exit.is_set()
    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert logged.__dict__["fields"] == {"pid": os.getpid(), "exit_code": code}


@EARLY_ENDS
def test_a_worker_that_ends_before_it_is_ready_is_tried_again_now_and_then_where_others_serve(
    code: int, watching: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = watching.processes[1] = StandIn(code)
    watching.keep_subprocess_alive()
    first = watching.processes[1]
    again = watching.processes[1] = StandIn(code)
    watching.keep_subprocess_alive()
    too_soon = watching.processes[1]
    monkeypatch.setattr("time.monotonic", lambda: 1e12)
    watching.keep_subprocess_alive()
    later = watching.processes[1]

    assert first is not dead
    assert too_soon is again
    assert later is not again
    assert not watching.failed


def test_a_worker_that_was_ready_is_replaced_at_once_however_often_it_dies(
    watching: Supervisor,
) -> None:
    for _ in range(3):
        watching.keep_subprocess_alive()
        dead = watching.processes[1]
        assert isinstance(dead, StandIn)
        dead.code = -signal.SIGKILL
        watching.keep_subprocess_alive()

        assert watching.processes[1] is not dead


def test_a_worker_that_was_ready_a_moment_ago_serves_whichever_of_them_died(
    watching: Supervisor,
) -> None:
    dead = watching.processes[0] = StandIn(-signal.SIGKILL)

    watching.keep_subprocess_alive()  # the first check

    assert watching.processes[0] is not dead
    assert not watching.failed


def test_a_worker_that_hangs_before_it_is_ready_is_replaced(watching: Supervisor) -> None:
    hanging = StandIn(is_ready=False, hangs=True)
    watching.processes[:] = [hanging, StandIn(is_ready=False)]

    watching.keep_subprocess_alive()

    assert watching.processes[0] is not hanging
    assert hanging.ended == ["kill", "join"]
    assert not watching.failed


def test_workers_that_were_told_to_end_together_with_their_supervisor_did_not_fail(
    watching: Supervisor,
) -> None:
    ended = StandIn(-signal.SIGTERM)
    watching.processes[:] = [StandIn(is_ready=False), ended]
    watching.signal_queue.append(signal.SIGTERM)

    watching.keep_subprocess_alive()
    watching.handle_signals()

    assert watching.processes[1] is ended
    assert watching.should_exit.is_set()
    assert not watching.failed


def test_the_end_is_passed_on_and_the_port_let_go(watching: Supervisor) -> None:
    watching.terminate_all()
    watching.should_exit.set()
    watching.keep_subprocess_alive()

    assert [worker.ended for worker in watching.processes if isinstance(worker, StandIn)] == [
        ["terminate"]
    ] * 2
    assert [sock.fileno() for sock in watching.sockets] == [-1]


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals that workers were sent."""
    numbers: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: numbers.append(number))
    return numbers


def test_sighup_is_passed_on_to_each(watching: Supervisor, signalled: list[int]) -> None:
    watching.keep_subprocess_alive()

    watching.handle_hup()
    watching.keep_subprocess_alive()

    assert signalled == [signal.SIGHUP] * 2


def test_sighup_waits_for_a_worker_that_is_still_loading(
    watching: Supervisor, signalled: list[int]
) -> None:
    loading = StandIn(is_ready=False)
    watching.processes[:] = [loading]
    watching.keep_subprocess_alive()
    watching.handle_hup()
    watching.handle_hup()
    watching.keep_subprocess_alive()
    while_loading = [*signalled]
    loading.ready = True
    for _ in range(3):
        watching.keep_subprocess_alive()

    assert while_loading == []
    assert signalled == [signal.SIGHUP]


def test_a_worker_runs_our_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[uvicorn.Server] = []
    monkeypatch.setattr(Process, "target", lambda worker, _: run.append(worker.server))
    worker = StandIn()
    worker.config = configure(Settings(), "service.app:worker_app", factory=True)

    worker.target([])

    assert [type(server) for server in run] == [Server]
    assert worker.server is run[0]
