"""How many connections there may be, and which one makes room, over real sockets."""

import contextlib
import errno
import logging
import os
import resource
import socket
import time

import pytest
from prometheus_client import CollectorRegistry

from service.observability.process import Usage
from service.server.connections import limits, raise_file_limit
from service.settings import Settings
from tests.service.conftest import MakeArtifact
from tests.service.listening import HEAD, REQUEST, Listening, listen, wait_until
from tests.service.process import read_response

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
CARD = b"GET /card HTTP/1.1\r\nHost: x\r\n\r\n"


def ask(listening: Listening, request: bytes) -> bytes:
    with listening.connect() as connection:
        connection.sendall(request)
        return read_response(connection)


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has left it open; nothing is to be received."""
    connection.settimeout(0.1)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /livez HTTP/1.1\r\nX"])
def test_the_connection_that_is_idle_for_longest_makes_room(
    sent: bytes, make_artifact: MakeArtifact
) -> None:
    with listen(make_artifact(), max_connections=3) as listening, contextlib.ExitStack() as stack:
        idle = []
        for count in range(1, 4):
            idle.append(stack.enter_context(listening.connect()))
            idle[-1].sendall(sent)
            wait_until(lambda count=count: len(listening.server.server_state.connections) == count)  # type: ignore[misc]
        idle[0].sendall(b"" if sent.startswith(b"GET") else LIVEZ)  # the second is now the oldest
        first = read_response(idle[0]) if not sent.startswith(b"GET") else b""
        answer = ask(listening, LIVEZ)

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert [is_open(each) for each in idle] == (
            [True, False, True] if first else [False, True, True]
        )


def test_a_request_in_progress_never_makes_room(make_artifact: MakeArtifact) -> None:
    with listen(make_artifact(), max_connections=2) as listening, contextlib.ExitStack() as stack:
        busy = stack.enter_context(listening.connect())
        busy.sendall(REQUEST)
        assert listening.gate.entered.acquire(timeout=10)
        for _ in range(20):
            stack.enter_context(listening.connect())
        assert ask(listening, LIVEZ).startswith(b"HTTP/1.1 200 ")
        listening.gate.let_through()

        assert read_response(busy).startswith(b"HTTP/1.1 200 ")


def test_where_none_is_idle_new_ones_get_503_and_probes_are_answered(
    make_artifact: MakeArtifact,
) -> None:
    with listen(make_artifact(), max_connections=2) as listening, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(listening.connect()).sendall(HEAD.encode() + b"\r\nx")
        state = listening.server.server_state
        wait_until(lambda: len(state.connections) == 2 and not state.idle)
        refused, alive = ask(listening, CARD), ask(listening, LIVEZ)
        open_now = len(listening.server.server_state.connections)
        stack.close()
        wait_until(lambda: not listening.server.server_state.connections)
        later = ask(listening, CARD)

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in refused
    assert alive.startswith(b"HTTP/1.1 200 ")
    assert open_now <= 4
    assert later.startswith(b"HTTP/1.1 200 ")


def test_a_flood_of_heads_stays_within_the_limit(make_artifact: MakeArtifact) -> None:
    with listen(make_artifact(), max_connections=5) as listening, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(listening.connect()).sendall(HEAD.encode() + b"\r\nx")
        assert ask(listening, LIVEZ).startswith(b"HTTP/1.1 200 ")

        assert len(listening.server.server_state.connections) <= 8


@pytest.mark.parametrize(
    ("max_files", "most"), [(-1, 2_000), (20_000, 2_000), (2_064, 2_000), (128, 64), (40, 13)]
)
def test_fewer_connections_are_kept_where_few_files_may_be_open(max_files: int, most: int) -> None:
    assert limits(Settings(), max_files).connections == most


def test_as_many_files_may_be_open_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: asked.append(limit))

    assert raise_file_limit() == 20_000
    assert asked == [(20_000, 20_000)]


def test_a_limit_of_files_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 20_000))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    assert raise_file_limit() == 256


# What is done ten times a second


def test_nothing_that_fails_in_the_watch_loop_ends_the_server(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checks = 0

    def fail(_: object) -> None:
        nonlocal checks
        checks += 1
        raise OSError(errno.EMFILE, "Too many open files")

    caplog.set_level(logging.ERROR, "service")
    with listen(make_artifact()) as listening:
        monkeypatch.setattr(listening.server.state.telemetry, "refresh", fail)
        wait_until(lambda: checks >= 3)
        answer = ask(listening, LIVEZ)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [each.getMessage() for each in caplog.records].count("periodic check failed") == 1


def test_the_memory_in_use_is_read_without_opening_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    usage = Usage(registry)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    usage.refresh()

    assert (registry.get_sample_value("resnet_resident_memory_bytes") or 0) > 1_000_000


def test_idle_connections_live_longer_than_a_load_balancer_keeps_them() -> None:
    assert Settings().keep_alive_timeout_s > 60


def test_a_connection_that_is_still_sent_its_answer_does_not_make_room(
    make_artifact: MakeArtifact,
) -> None:
    with listen(make_artifact(), max_connections=1) as listening, listening.connect() as slow:
        state = listening.server.server_state
        slow.sendall(LIVEZ)
        read_response(slow)
        (protocol,) = state.connections
        protocol._lingering.get_write_buffer_size = lambda: 1  # type: ignore[union-attr]
        assert ask(listening, CARD).startswith(b"HTTP/1.1 503 ")
        time.sleep(0.05)

        assert is_open(slow)
