"""A layer of TLS between a real client and a protocol that sends back what it receives."""

import asyncio
import contextlib
import hashlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import uvloop

from service.server.connections import Connections, Limits
from service.server.tls import TlsConnection
from tests.service.certificates import Certificate, make_certificate
from tests.service.listening import wait_until

WAIT_S = 10


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "server")


class Echo(asyncio.Protocol):
    """Sends back what it receives, and reads no more while that is not taken."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.received = 0
        self.ends: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def eof_received(self) -> bool:
        self.ends.append("end")
        return True

    def connection_lost(self, _: Exception | None) -> None:
        self.ends.append("lost")


class Echoing:
    """A server of such protocols, in a thread."""

    def __init__(self, context: ssl.SSLContext, new_loop: Callable[[], Any]) -> None:
        self.loop = new_loop()
        self.state = Connections(Limits(connections=3, header_s=0.3))
        self.echoes: list[Echo] = []
        make = lambda: TlsConnection(context, self.state, self._make)  # noqa: E731
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.server = self.loop.run_until_complete(self.loop.create_server(make, sock=listening))

    def _make(self) -> Echo:
        self.echoes.append(Echo())
        return self.echoes[-1]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def echoing(certificate: Certificate, request: pytest.FixtureRequest) -> Iterator[Echoing]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    echoing = Echoing(context, request.param)
    thread = threading.Thread(target=echoing.loop.run_forever)
    thread.start()
    yield echoing
    echoing.loop.call_soon_threadsafe(echoing.server.close)
    wait_until(lambda: not echoing.state.connections and not echoing.state.idle)
    echoing.loop.call_soon_threadsafe(echoing.loop.stop)
    thread.join(WAIT_S)
    echoing.loop.close()


@contextlib.contextmanager
def connected(echoing: Echoing, certificate: Certificate) -> Iterator[ssl.SSLSocket]:
    with (
        echoing.connect() as plain,
        certificate.trusting_client().wrap_socket(
            plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as client,
    ):
        yield client
    if echoing.echoes:
        wait_until(lambda: "lost" in echoing.echoes[-1].ends)


def say_end(client: ssl.SSLSocket) -> None:
    """Send the end of this direction alone, and wait for nothing."""
    client.settimeout(0)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.unwrap()
    client.settimeout(WAIT_S)


def test_bytes_come_back_as_they_were_sent(echoing: Echoing, certificate: Certificate) -> None:
    sent = random.Random(0).randbytes(5_000_000)  # noqa: S311  # no secrets
    digest, received = hashlib.sha256(), 0
    with connected(echoing, certificate) as client:
        sending = threading.Thread(target=client.sendall, args=(sent,))
        sending.start()
        time.sleep(0.1)  # the buffers fill up
        while received < len(sent):
            data = client.recv(100_000)
            digest.update(data)
            received += len(data)
        sending.join()

    assert digest.digest() == hashlib.sha256(sent).digest()
    assert echoing.echoes[0].ends == ["lost"]


def test_a_direction_that_ends_leaves_the_other_open(
    echoing: Echoing, certificate: Certificate
) -> None:
    with connected(echoing, certificate) as client:
        client.sendall(b"question")
        received = client.recv(8)  # the client's OpenSSL can end once nothing is on its way
        say_end(client)
        wait_until(lambda: echoing.echoes != [] and echoing.echoes[0].ends == ["end"])
        echoing.loop.call_soon_threadsafe(echoing.echoes[0].transport.write, b" answer")
        echoing.loop.call_soon_threadsafe(echoing.echoes[0].transport.close)
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while data := client.recv(100):
                received += data

    assert received == b"question answer"


def test_a_client_that_never_confirms_the_end_is_not_waited_for(
    echoing: Echoing, certificate: Certificate
) -> None:
    with connected(echoing, certificate) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        echoing.loop.call_soon_threadsafe(echoing.echoes[0].transport.close)
        began = time.perf_counter()
        wait_until(lambda: echoing.echoes[0].ends == ["lost"])

        assert time.perf_counter() - began < 1
        assert client.recv(1) == b""  # an end that was announced: a cut one would raise


def test_a_cut_connection_is_lost(echoing: Echoing, certificate: Certificate) -> None:
    with connected(echoing, certificate) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        client.shutdown(socket.SHUT_WR)  # of TCP, and TLS has not ended
        wait_until(lambda: echoing.echoes[0].ends == ["lost"])


def test_what_the_client_did_not_encrypt_ends_the_connection(
    echoing: Echoing, certificate: Certificate
) -> None:
    with connected(echoing, certificate) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        with socket.socket(fileno=client.fileno()) as plain:
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            plain.detach()
        wait_until(lambda: echoing.echoes[0].ends == ["lost"])

    assert echoing.echoes[0].received == 1


def test_unread_bytes_are_counted(echoing: Echoing, certificate: Certificate) -> None:
    with connected(echoing, certificate) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        transport = echoing.echoes[0].transport
        echoing.loop.call_soon_threadsafe(transport.write, bytes(12_000_000))
        wait_until(lambda: transport.get_write_buffer_size() > 1_000_000)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_stalls_has_its_time(sent: bytes, echoing: Echoing) -> None:
    with echoing.connect() as client:
        client.sendall(sent)
        wait_until(lambda: len(echoing.state.connections) == 1)
        assert len(echoing.state.idle) == 1
        began = time.perf_counter()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""

    assert 0.1 < time.perf_counter() - began < 2
    assert echoing.echoes == []


def test_stalled_handshakes_make_room(echoing: Echoing, certificate: Certificate) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(1, 4):
            stack.enter_context(echoing.connect())
            wait_until(lambda number=number: len(echoing.state.connections) == number)  # type: ignore[misc]
        with connected(echoing, certificate) as client:
            client.sendall(b"x")

            assert client.recv(1) == b"x"
            assert len(echoing.state.connections) == 2  # the oldest is gone, this one is HTTP's


def test_a_client_without_tls_is_told_so(echoing: Echoing) -> None:
    with echoing.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.recv(1000)

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"This port needs TLS. Use https://.")
