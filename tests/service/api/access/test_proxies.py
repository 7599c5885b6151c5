from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from service.api.access.proxies import ProxyHeaders

pytestmark = pytest.mark.anyio

PROXY = ("10.0.0.1", 5000)
Headers = list[tuple[bytes, bytes]]


async def seen(
    headers: Headers,
    client: tuple[str, int] | None = PROXY,
    path: str = "/predict",
    **options: Any,
) -> Scope:
    """The scope behind the middleware, which trusts 10.0.0.0/8 unless told otherwise."""
    scopes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        scopes.append(scope)

    scope = {"type": "http", "client": client, "scheme": "http", "path": path, "headers": headers}
    trusted = options.pop("proxies", ("10.0.0.0/8",))
    await ProxyHeaders(app, trusted, **options)(scope, None, None)  # type: ignore[arg-type]
    return scopes[0]


def xff(*values: bytes) -> Headers:
    return [(b"x-forwarded-for", value) for value in values]


def forwarded(*values: bytes) -> Headers:
    return [(b"forwarded", value) for value in values]


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (xff(b"192.0.2.1"), "192.0.2.1"),
        (xff(b"192.0.2.9, 192.0.2.1"), "192.0.2.1"),  # the first one is what the client claims
        (xff(b"192.0.2.1, 10.3.4.5"), "192.0.2.1"),  # two proxies
        (xff(b"192.0.2.1", b"10.3.4.5"), "192.0.2.1"),
        (xff(b"192.0.2.1:4711"), "192.0.2.1"),
        (xff(b"[2001:db8::1]:4711"), "2001:db8::1"),
        (xff(b"::ffff:192.0.2.1"), "192.0.2.1"),
        (xff(b"10.0.0.7"), "10.0.0.7"),  # a client within the proxies' network
        (forwarded(b"for=192.0.2.1;proto=https;by=10.0.0.1"), "192.0.2.1"),
        (forwarded(b"for=192.0.2.9, for=192.0.2.1"), "192.0.2.1"),
        (forwarded(b'For="[2001:db8::1]:4711"'), "2001:db8::1"),
        (xff(b"192.0.2.1") + forwarded(b"for=192.0.2.1"), "192.0.2.1"),
    ],
)
async def test_a_trusted_proxy_says_who_asks(headers: Headers, address: str) -> None:
    assert (await seen(headers))["client"] == (address, 0)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        xff(b"unknown"),
        xff(b""),
        xff(b"192.0.2.1, nonsense"),
        xff(b", ".join([b"10.1.1.1"] * 50)),
        forwarded(b"for=_hidden"),
        forwarded(b"for=192.0.2.1; ="),
        forwarded(b'for="192.0.2.1'),
        xff(b"192.0.2.1") + forwarded(b"for=192.0.2.2"),  # one of them is the client's own
    ],
)
async def test_what_cannot_be_believed_leaves_the_proxys_own_address(headers: Headers) -> None:
    assert (await seen(headers))["client"] == PROXY


@pytest.mark.parametrize("client", [("192.0.2.66", 1), ("11.0.0.1", 1), ("nonsense", 1), None])
async def test_nobody_else_is_believed(client: tuple[str, int] | None) -> None:
    headers = [
        *xff(b"192.0.2.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-prefix", b"/evil"),
    ]

    scope = await seen(headers, client)

    assert (scope["client"], scope["scheme"], scope["path"]) == (client, "http", "/predict")
    assert "root_path" not in scope


async def test_a_proxy_on_a_trusted_socket_is_believed() -> None:
    assert (await seen(xff(b"192.0.2.1"), None, proxies=("unix",)))["client"] == ("192.0.2.1", 0)


@pytest.mark.parametrize(
    "headers",
    [
        [*xff(b"192.0.2.1"), (b"x-forwarded-proto", b"HTTPS")],
        forwarded(b"for=192.0.2.1;proto=https"),
    ],
)
async def test_a_trusted_proxy_says_which_scheme_was_used(headers: Headers) -> None:
    assert (await seen(headers))["scheme"] == "https"


@pytest.mark.parametrize("path", ["/predict", "/a/b/predict"])
async def test_a_prefix_may_be_removed_by_the_proxy_or_not(path: str) -> None:
    for scope in (
        await seen([(b"x-forwarded-prefix", b"/a/b/")], path=path),
        await seen([], path=path, root_path="/a/b"),
    ):
        assert (scope["root_path"], scope["path"]) == ("/a/b", "/a/b/predict")


@pytest.mark.parametrize("prefix", [b"a", b"//evil.example", b"/a?b", b"/" + b"a" * 300, b"/<b>"])
async def test_a_strange_prefix_is_ignored(prefix: bytes) -> None:
    assert "root_path" not in await seen([(b"x-forwarded-prefix", prefix)])
