"""The service over TLS: certificates, their reload, rejections, clients that leave, the end."""

import contextlib
import dataclasses
import http.client
import json
import logging
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import StartError
from service.server.certificates import read_certificates
from service.settings import Settings
from tests.service.certificates import Certificate, make_certificate
from tests.service.conftest import MakeArtifact
from tests.service.images import BLACK
from tests.service.listening import REQUEST, Listening, listen, wait_until
from tests.service.process import free_port, serve_model
from tests.service.working import total, until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, ...]:
    """Three certificates that do not know each other."""
    folder = tmp_path_factory.mktemp("certificates")
    return tuple(make_certificate(folder, name) for name in ("first", "second", "client"))


@pytest.fixture
def certificate(made: tuple[Certificate, ...], tmp_path: Path) -> Certificate:
    """The service's, which may be replaced."""
    files = Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    files.replace_by(made[0])
    return files


@pytest.fixture
def listening(make_artifact: MakeArtifact, certificate: Certificate) -> Iterator[Listening]:
    files: dict[str, Any] = {"tls_cert": certificate.cert, "tls_key": certificate.key}
    with listen(make_artifact(), header_timeout_s=5, **files) as started:
        yield started


@contextlib.contextmanager
def client_of(
    listening: Listening, trusting: Certificate, identity: Certificate | None = None
) -> Iterator[http.client.HTTPSConnection]:
    context = trusting.trusting_client()
    if identity is not None:
        context.load_cert_chain(identity.cert, identity.key)
    with contextlib.closing(
        http.client.HTTPSConnection("127.0.0.1", listening.port, timeout=10, context=context)
    ) as client:
        yield client


def ask(client: http.client.HTTPSConnection) -> int:
    client.request("POST", "/predict", BLACK)
    answer = client.getresponse()
    json.loads(answer.read())
    return answer.status


def reload(listening: Listening) -> None:
    done: list[bool] = []

    def run() -> None:
        listening.server.reload_all()
        done.append(True)

    listening.server.servers[0].get_loop().call_soon_threadsafe(run)
    wait_until(lambda: bool(done))


def test_new_connections_get_the_new_certificate_and_old_ones_go_on(
    listening: Listening,
    certificate: Certificate,
    made: tuple[Certificate, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    listening.gate.let_through(5)
    with client_of(listening, made[0]) as old:
        before = ask(old)
        certificate.replace_by(made[1])
        reload(listening)
        with client_of(listening, made[1]) as new:
            after = [ask(new), ask(old)]
        with client_of(listening, made[0]) as refusing, pytest.raises(ssl.SSLError):
            ask(refusing)
        certificate.key.write_bytes(made[2].key.read_bytes())  # of another certificate
        reload(listening)
        with client_of(listening, made[1]) as newer:
            last = [ask(newer), ask(old)]

    assert [before, *after, *last] == [200] * 5
    (refusal,) = [each for each in caplog.records if each.message == "certificate refused"]
    assert refusal.levelno == logging.ERROR
    assert "key values mismatch" in str(vars(refusal)["fields"])


def test_only_clients_with_a_certificate_of_the_authority_are_answered(
    make_artifact: MakeArtifact, made: tuple[Certificate, ...]
) -> None:
    server, unknown, known = made
    files: dict[str, Any] = {"tls_cert": server.cert, "tls_key": server.key}
    with listen(make_artifact(), tls_client_ca=known.cert, **files) as listening:
        listening.gate.let_through()
        for identity in (None, unknown):
            with client_of(listening, server, identity) as client, pytest.raises(OSError):  # noqa: PT011  # TLS 1.3 says so by an alert or a reset
                ask(client)
        with client_of(listening, server, known) as client:
            status = ask(client)

        assert status == 200
        assert len(listening.gate.batches) == 1


def test_a_client_that_still_sends_can_read_why_it_is_rejected(
    listening: Listening, made: tuple[Certificate, ...]
) -> None:
    with client_of(listening, made[0]) as client:
        client.putrequest("POST", "/predict")
        client.putheader("Content-Length", "20000000")
        client.endheaders()
        with contextlib.suppress(OSError):
            for _ in range(30):
                client.send(bytes(100_000))
        answer = client.getresponse()

        assert (answer.status, json.loads(answer.read())["code"]) == (413, "body_too_large")


def test_a_client_that_has_left_is_noticed_and_not_run(
    listening: Listening, made: tuple[Certificate, ...]
) -> None:
    with client_of(listening, made[0]) as busy, client_of(listening, made[0]) as leaving:
        for number, client in enumerate((busy, leaving), 1):
            client.request("POST", "/predict", BLACK)
            wait_until(lambda number=number: listening.admission.in_flight == number)  # type: ignore[misc]
        leaving.close()
        wait_until(lambda: listening.admission.in_flight == 1)
        listening.gate.let_through()

        assert busy.getresponse().status == 200
    assert listening.gate.batches == [[0]]


def test_at_the_end_what_was_asked_is_answered_and_nobody_is_waited_for(
    listening: Listening, made: tuple[Certificate, ...]
) -> None:
    with contextlib.ExitStack() as stack:
        late = stack.enter_context(listening.connect())  # its handshake comes with the end
        idle, asking = (stack.enter_context(client_of(listening, made[0])) for _ in range(2))
        listening.gate.let_through(2)
        assert ask(idle) == 200
        asking.request("POST", "/predict", BLACK)
        wait_until(lambda: len(listening.server.server_state.connections) == 3)
        began = time.perf_counter()
        listening.server.should_exit = True
        wait_until(lambda: not listening.server.servers[0].is_serving())
        secured = stack.enter_context(
            made[0].trusting_client().wrap_socket(late, server_hostname="127.0.0.1")
        )
        secured.sendall(REQUEST)
        listening.gate.let_through()

        assert asking.getresponse().status == 200
        assert secured.recv(100).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: not listening.server.server_state.connections)
        assert time.perf_counter() - began < 4
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""


def test_sighup_brings_certificate_and_version_to_every_worker(
    make_artifact: MakeArtifact, certificate: Certificate, made: tuple[Certificate, ...]
) -> None:
    settings = {"workers": "2", "reload_interval_s": "0", "drain_delay_s": "0.3"}
    files = {"tls_cert": str(certificate.cert), "tls_key": str(certificate.key)}
    folder, metrics_port = str(make_artifact().parent), free_port()
    with serve_model(
        artifact=folder, metrics_port=str(metrics_port), **settings, **files
    ) as running:
        metrics = dataclasses.replace(running, port=metrics_port)

        def answerers(trusted: Certificate) -> set[tuple[str, str]]:
            url, context = f"https://127.0.0.1:{running.port}/predict", trusted.trusting_client()
            answers = [httpx.post(url, content=BLACK, verify=context) for _ in range(12)]
            return {
                (each.headers["x-request-id"].partition("-")[0], each.json()["model"]["version"])
                for each in answers
            }

        until(lambda: total(metrics, "resnet_model_info", version="1") == 1)
        until(lambda: len(answerers(made[0])) == 2)
        certificate.replace_by(made[1])
        make_artifact(version="2")
        running.process.send_signal(signal.SIGHUP)
        until(lambda: total(metrics, "resnet_reloads_total", outcome="loaded") == 2)
        versions = {version for _, version in answerers(made[1])}
        models = [total(metrics, "resnet_model_info", version=each) for each in ("1", "2")]
        running.terminate()
        code = running.process.wait(20)

    assert (versions, models, code) == ({"2"}, [0, 1], 0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tls_cert": "none.crt"}, "RESNET_TLS_CERT (='none.crt'): No such file or directory."),
        ({"tls_key": "none.key"}, "RESNET_TLS_KEY (='none.key'): No such file or directory."),
        ({"tls_key": "client.key"}, "cannot be used: key values mismatch. Use PEM files that"),
        ({"tls_key": None}, "cannot be used: something is missing. Use PEM files that"),
        ({"tls_cert": "text", "tls_key": "first.key"}, "cannot be used: "),
        ({"tls_client_ca": "none.crt"}, "RESNET_TLS_CLIENT_CA (='none.crt'): No such file"),
        ({"tls_client_ca": "text"}, "RESNET_TLS_CLIENT_CA (='text') cannot be used: "),
        ({"tls_client_ca": "first.key"}, "RESNET_TLS_CLIENT_CA (='first.key') cannot be used: "),
    ],
)
def test_files_that_cannot_be_used_are_one_line(
    changes: dict[str, str | None],
    why: str,
    made: tuple[Certificate, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = made[0].cert.parent
    monkeypatch.chdir(folder)
    (folder / "text").write_text("no certificate")
    given = {"tls_cert": "first.crt", "tls_key": "first.key", **changes}

    with pytest.raises(StartError) as refused:
        read_certificates(Settings(**given))  # type: ignore[arg-type]

    assert why in str(refused.value)
    assert str(refused.value).isprintable()
