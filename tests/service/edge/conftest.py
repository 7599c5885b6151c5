"""nginx and HAProxy with the configurations of `deploy`, on free ports of loopback."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.service.process import ROOT, free_port

PREFIX = "/resnet"
CLIENT = "127.0.0.2"
PROXIES = ("nginx", "haproxy")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
"""Debian has servers where other users than root do not look."""


@dataclass(frozen=True)
class Edge:
    """A proxy with TLS and a prefix, in front of the service.

    Attributes:
        port: Where the proxy listens.
        authority: PEM file that its clients trust.
    """

    port: int
    authority: Path

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}{PREFIX}/"

    def client(self) -> httpx.Client:
        """A client with another address than the proxy's, which the service trusts."""
        trusted = ssl.create_default_context(cafile=str(self.authority))
        transport = httpx.HTTPTransport(verify=trusted, local_address=CLIENT)
        return httpx.Client(base_url=self.url, transport=transport, timeout=10)


StartProxy = Callable[..., AbstractContextManager[Edge]]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for localhost: `crt`, `key`, and both in `pem`."""
    openssl = program("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run([openssl, *options.split(), *subject, *files], check=True, capture_output=True)
    (folder / "pem").write_text((folder / "crt").read_text() + (folder / "key").read_text())
    return folder


@pytest.fixture(scope="session")
def start_proxy(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> StartProxy:
    """Start a proxy by its name, before a service on a port, and perhaps another for gRPC."""

    @contextmanager
    def start(name: str, service_port: int, grpc_port: int = 8001) -> Iterator[Edge]:
        found, port, folder = program(name), free_port(), tmp_path_factory.mktemp(name)
        ports = {8000: service_port, 8001: grpc_port}
        service = {f"127.0.0.1:{old}": f"127.0.0.1:{new}" for old, new in ports.items()}
        command = COMMANDS[name](found, folder, port, service, certificate)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                wait_until_it_listens(process, port, folder / "log")
                yield Edge(port, certificate / "crt")
            finally:
                process.kill()
                process.wait()

    return start


def program(name: str) -> str:
    """Find a program, or leave the test out."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is missing (apt-get install {name})")
    return found


def adapted(file: str, **changes: str) -> str:
    """Read a configuration of `deploy`; what is replaced must be there."""
    text = (ROOT / "deploy" / file).read_text()
    for old, new in changes.items():
        assert old in text, f"{file} has no {old}"
        text = text.replace(old, new)
    return text


def nginx(
    found: str, folder: Path, port: int, service: dict[str, str], certificate: Path
) -> list[str]:
    site = adapted(
        "nginx/resnet.conf",
        **{
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            **service,
            "/etc/ssl/example.com.crt": str(certificate / "crt"),
            "/etc/ssl/example.com.key": str(certificate / "key"),
        },
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{ }}\n"
        f"http {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    return [found, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def haproxy(
    found: str, folder: Path, port: int, service: dict[str, str], certificate: Path
) -> list[str]:
    text = adapted(
        "haproxy/haproxy.cfg",
        **{
            "bind :443 ": f"bind 127.0.0.1:{port} ",
            **service,
            "/etc/ssl/example.com.pem": str(certificate / "pem"),
        },
    )
    (folder / "haproxy.cfg").write_text(text)
    return [found, "-db", "-f", str(folder / "haproxy.cfg")]


COMMANDS = {"nginx": nginx, "haproxy": haproxy}


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 10
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, "The proxy does not listen."
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
