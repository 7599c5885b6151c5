"""Where the service listens, and what is said where it cannot."""

import http.client
import os
import socket
import stat
from pathlib import Path

import pytest

from service.errors import StartError
from service.healthcheck import main
from service.server import listen as listen_module
from service.server.listen import (
    address,
    bind,
    bind_reuseport,
    drop_new_connections,
    is_listening,
)
from service.settings import Settings
from tests.service.conftest import MakeArtifact
from tests.service.images import BLACK
from tests.service.listening import listen
from tests.service.process import free_port


@pytest.mark.parametrize(
    ("host", "listens"),
    [
        ("127.0.0.1", "127.0.0.1:"),
        ("127.0.0.2", "127.0.0.2:"),
        ("localhost", "127.0.0.1:"),
        ("", "0.0.0.0:"),
        ("::1", "[::1]:"),
        ("[::1]", "[::1]:"),
        ("[::]", "[::]:"),
    ],
)
def test_a_host_is_listened_on(host: str, listens: str) -> None:
    with bind(Settings(host=host, port=0)) as [sock]:
        assert address(sock).startswith(listens)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("no-such-host.invalid", "is not known"),
        ("[::1", "is not known"),
        ("127.0.0.1:8000", "is not known"),
        ("a" * 70, "is not known"),
        ("192.0.2.1", "is not an address of this machine"),
    ],
)
def test_a_host_that_cannot_be_listened_on_is_what_the_error_names(host: str, why: str) -> None:
    with pytest.raises(StartError) as refused, bind(Settings(host=host, port=0)):
        pass

    assert str(refused.value).startswith(f"RESNET_HOST (={host!r}) {why}")
    assert "RESNET_PORT" not in str(refused.value)


def test_a_port_that_is_taken_is_what_the_error_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        why = f"^Port {port} of 127.0.0.1 cannot be used: .*PORT"
        with pytest.raises(StartError, match=why), bind(Settings(port=port)):
            pass


def ask(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> int:
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_a_unix_socket_is_open_to_all_and_removed_at_the_end(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resnet.sock"
    monkeypatch.setenv("RESNET_UDS", str(path))
    with listen(make_artifact(), uds=path, trusted_proxies=("unix",)) as listening:
        listening.gate.let_through()
        client = http.client.HTTPConnection("localhost")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(str(path))
        answered = [ask(client, "/predict", BLACK), ask(client, "/livez")]
        mode, health = path.stat().st_mode, main()
        client.close()

    assert (answered, health) == ([200, 200], 0)
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o666)
    assert not path.exists()


def test_a_unix_socket_that_is_left_over_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "resnet.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))

    with bind(Settings(uds=path)) as [sock]:
        sock.listen()
        why = f"RESNET_UDS .='{path}'. cannot be used: Address already in use. Choose another path"
        with pytest.raises(StartError, match=why), bind(Settings(uds=path)):
            pass
        assert address(sock) == f"unix:{path}"
        assert path.is_socket()

    assert not path.exists()


def test_at_the_end_a_unix_socket_keeps_who_is_connected_and_takes_nobody_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "resnet.sock"
    with (
        bind(Settings(uds=path)) as [sock],
        socket.socket(socket.AF_UNIX) as pending,
        socket.socket(socket.AF_UNIX) as late,
    ):
        sock.listen()
        pending.connect(str(path))
        drop_new_connections(sock)

        with pytest.raises(FileNotFoundError):
            late.connect(str(path))
        sock.accept()[0].close()


def test_a_unix_socket_of_another_process_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "resnet.sock"
    with bind(Settings(uds=path)):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))

    assert path.is_socket()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("none/resnet.sock", "No such file or directory"),
        ("x" * 200, "AF_UNIX path too long"),
        ("file", "Address already in use"),
    ],
)
def test_a_path_that_cannot_be_bound_is_what_the_error_names(
    path: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError) as refused, bind(Settings(uds=tmp_path / path)):
        pass

    assert str(refused.value).startswith(f"RESNET_UDS (={str(tmp_path / path)!r}) cannot be used:")
    assert why in str(refused.value)


def hand_over(sock: socket.socket, monkeypatch: pytest.MonkeyPatch, count: str = "1") -> None:
    """Do as a service manager does, with another descriptor than 3, which is pytest's."""
    monkeypatch.setattr(listen_module, "INHERITED_FD", sock.detach())
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)


def test_an_inherited_socket_is_served_and_left_as_it_was(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        hand_over(held.dup(), monkeypatch)
        with listen(make_artifact(), port=1) as listening:
            listening.gate.let_through()
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            status = ask(client, "/predict", BLACK)
            client.close()

            served = listening.port

        with socket.create_connection(("127.0.0.1", port), timeout=0.5):  # waits for the next start
            held.settimeout(1)
            held.accept()[0].close()

    assert (status, served) == (200, port)


def test_an_inherited_socket_is_shared_by_workers() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as held,
        bind_reuseport(held) as first,
        bind_reuseport(held) as second,
    ):
        assert first.getsockname() == second.getsockname() == held.getsockname()
        assert is_listening(first)
        assert is_listening(second)


@pytest.mark.parametrize(
    ("kind", "count", "why"),
    [
        (socket.SOCK_STREAM, "2", "LISTEN_FDS (='2') must be 1: pass exactly one socket."),
        (socket.SOCK_STREAM, "1", "cannot be used: it does not listen for connections."),
        (socket.SOCK_DGRAM, "1", "cannot be used: it does not listen for connections."),
    ],
)
def test_an_inherited_socket_that_is_of_no_use_is_one_line(
    kind: socket.SocketKind, count: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock = socket.socket(socket.AF_INET, kind)
    fd = sock.fileno()
    hand_over(sock, monkeypatch, count)

    with pytest.raises(StartError) as refused, bind(Settings()):
        pass

    assert why in str(refused.value)
    if count != "1":
        os.close(fd)


def test_an_inherited_descriptor_that_is_no_socket_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(listen_module, "INHERITED_FD", reading)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")

    with pytest.raises(StartError, match="Socket operation on non-socket"), bind(Settings()):
        pass

    os.close(reading)
    os.close(writing)


def test_metrics_have_a_port_of_their_own(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics_port = free_port()
    monkeypatch.setenv("RESNET_METRICS_PORT", str(metrics_port))
    with listen(make_artifact(), metrics_port=metrics_port) as listening:
        listening.gate.let_through()
        answered = []
        for port in (listening.port, metrics_port):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            paths = ("/metrics", "/livez", "/readyz", "/card", "/nothing")
            answered.append([ask(client, path) for path in paths])
            answered[-1].append(ask(client, "/predict", BLACK))
            client.close()
        health = main()

    assert answered == [[404, 200, 200, 200, 404, 200], [200, 200, 200, 404, 404, 404]]
    assert health == 0


def test_a_port_for_metrics_that_is_taken_is_what_the_error_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        why = f"^Port {port} of 127.0.0.1 cannot be used: .*RESNET_METRICS_PORT"
        with pytest.raises(StartError, match=why), bind(Settings(port=0, metrics_port=port)):
            pass
