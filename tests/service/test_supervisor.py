"""What the supervisor makes of its workers' ends, with stand-ins for the processes."""

import os
import signal
import socket
from collections.abc import Iterator

import pytest
from uvicorn.config import STARTUP_FAILURE

from service import supervisor
from service.errors import StartError
from service.server import Server, configure
from service.settings import Settings
from service.supervisor import Supervisor, Worker, worker_app
from tests.service.conftest import MakeArtifact


class StandIn(Worker):
    """A worker without a process."""

    def __init__(self, exit_code: int | None = None, *, is_ready: bool = True) -> None:
        self.code = exit_code
        self.ready = is_ready
        self.ended: list[str] = []

    @property
    def pid(self) -> int | None:
        return os.getpid()

    @property
    def exitcode(self) -> int | None:
        return self.code

    def is_alive(self, timeout: float = 5) -> bool:  # noqa: ARG002
        return self.code is None

    def is_ready(self, timeout: float = 5) -> bool:  # noqa: ARG002
        return self.ready

    def kill(self) -> None:
        self.ended.append("kill")

    def join(self) -> None:
        self.ended.append("join")

    def terminate(self) -> None:
        self.ended.append("terminate")


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """A supervisor over two workers that serve; others it starts are stand-ins too."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    config = configure(Settings(), "service.supervisor:worker_app", factory=True, workers=2)
    made = Supervisor(config, [socket.socket()])
    monkeypatch.setattr(supervisor, "mark_process_dead", lambda _: None)
    monkeypatch.setattr(made, "_start", StandIn)
    made.init_processes()
    yield made
    for sock in made.sockets:
        sock.close()
    for number, handler in handlers.items():
        if number not in {signal.SIGKILL, signal.SIGSTOP} and handler is not None:
            signal.signal(number, handler)


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


def test_a_worker_that_cannot_start_ends_a_service_that_never_served(watching: Supervisor) -> None:
    watching.processes[:] = [StandIn(is_ready=False), StandIn(STARTUP_FAILURE)]

    watching.keep_subprocess_alive()

    assert watching.failed
    assert watching.should_exit.is_set()


def test_a_worker_that_cannot_start_is_tried_again_now_and_then_where_others_serve(
    watching: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = watching.processes[1] = StandIn(STARTUP_FAILURE)
    watching.keep_subprocess_alive()
    first = watching.processes[1]
    again = watching.processes[1] = StandIn(STARTUP_FAILURE)
    watching.keep_subprocess_alive()
    too_soon = watching.processes[1]
    monkeypatch.setattr("time.monotonic", lambda: 1e12)
    watching.keep_subprocess_alive()
    later = watching.processes[1]

    assert first is not dead
    assert too_soon is again
    assert later is not again
    assert not watching.failed


def test_the_end_is_passed_on_and_the_port_let_go(watching: Supervisor) -> None:
    watching.terminate_all()
    watching.should_exit.set()
    watching.keep_subprocess_alive()

    assert [worker.ended for worker in watching.processes if isinstance(worker, StandIn)] == [
        ["terminate"]
    ] * 2
    assert [sock.fileno() for sock in watching.sockets] == [-1]


def test_sighup_is_passed_on_to_each(watching: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: told.append(number))

    watching.handle_hup()

    assert told == [signal.SIGHUP] * 2


def test_a_worker_makes_its_application_from_its_environment(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNET_ARTIFACT", str(make_artifact()))

    app = worker_app()

    assert callable(app)


def test_a_worker_that_cannot_start_says_so_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Settings, __: object) -> None:
        raise StartError("The reason.")

    monkeypatch.setattr(supervisor, "create_app", refuse)

    with pytest.raises(SystemExit) as ended:
        worker_app()

    assert ended.value.code == STARTUP_FAILURE
    assert capsys.readouterr().err == "error: The reason.\n"


def test_a_worker_runs_our_own_server() -> None:
    worker = StandIn()
    worker.config = configure(Settings(), "service.supervisor:worker_app", factory=True)
    worker._server = None  # what uvicorn's own constructor would set

    assert isinstance(worker.server, Server)
    assert worker.server is worker.server
