import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.healthcheck import main


class Server6(http.server.HTTPServer):
    address_family = socket.AF_INET6


@contextmanager
def answering(status: int, host: str = "127.0.0.1") -> Iterator[int]:
    """A server that answers all with one status; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    kind = Server6 if ":" in host else http.server.HTTPServer
    with kind((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_exit_code_tells_whether_the_service_lives(
    status: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status) as port:
        monkeypatch.setenv("RESNET_PORT", str(port))

        assert main() == code


def test_it_runs_as_a_module() -> None:
    with answering(503) as port:
        run = subprocess.run(
            [sys.executable, "-m", "service.healthcheck"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "RESNET_PORT": str(port)},
            capture_output=True,
            timeout=30,
            check=False,
        )

    assert (run.returncode, run.stdout, run.stderr) == (1, b"", b"")


def test_nobody_who_listens_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("RESNET_PORT", str(port))

    assert main() == 1


@pytest.mark.parametrize(
    ("setting", "host"),
    [
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("::", "::1"),
        ("[::]", "::1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104  # nothing listens there
        ("", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
    ],
)
def test_it_asks_where_the_service_listens(
    setting: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200, host) as port:
        monkeypatch.setenv("RESNET_HOST", setting)
        monkeypatch.setenv("RESNET_PORT", str(port))

        assert main() == 0


@pytest.mark.parametrize(
    ("name", "value"), [("RESNET_PORT", "http"), ("RESNET_PORT", ""), ("RESNET_HOST", "a b")]
)
def test_settings_that_make_no_sense_are_not_alive(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    assert main() == 1
