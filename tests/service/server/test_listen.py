"""Where the service listens, and what is said where it cannot."""

import socket

import pytest

from service.errors import StartError
from service.server.listen import address, bind
from service.settings import Settings


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
    with bind(Settings(host=host, port=0)) as sock:
        assert address(sock).startswith(listens)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("no-such-host.invalid", "is not known"),
        ("[::1", "is not known"),
        ("127.0.0.1:8000", "is not known"),
        ("a" * 70, "is not known"),
        ("192.0.2.1", "is no address of this machine"),
    ],
)
def test_a_host_that_cannot_be_listened_on_is_what_the_error_names(host: str, why: str) -> None:
    with pytest.raises(StartError) as refused:
        bind(Settings(host=host, port=0))

    assert str(refused.value).startswith(f"RESNET_HOST (={host!r}) {why}")
    assert "RESNET_PORT" not in str(refused.value)


def test_a_port_that_is_taken_is_what_the_error_names() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(StartError, match=f"^Port {port} of 127.0.0.1 cannot be taken: .*PORT"):
            bind(Settings(port=port))
