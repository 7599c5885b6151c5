"""What trusted proxies say of a request: the client's address, the scheme, and a prefix.

Anybody may send such headers, so they are read only where the connection comes from a proxy that
`RESNET_TRUSTED_PROXIES` names. Addresses are read from the last to the first: the first one that
is no trusted proxy is the client.

A proxy often passes on the one header that it does not write itself. So where `Forwarded` and
`X-Forwarded-For` name different clients, neither is believed.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

Network = IPv4Network | IPv6Network
UNIX = "unix"
"""In place of a network: clients without an address, as on the Unix socket of `RESNET_UDS`."""
MAX_HOPS = 20
"""Addresses that are read of one request."""
MAX_PREFIX = 200
PREFIX = re.compile(rb"(/[A-Za-z0-9._~-]+)+")
_PAIR = re.compile(r'\s*(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]+))\s*(;|,|$)')
_SCHEMES = frozenset({"http", "https"})


class Hop:
    """One element of `Forwarded`: who asked the proxy, and how."""

    __slots__ = ("address", "scheme")

    def __init__(self, address: str, scheme: str = "") -> None:
        self.address, self.scheme = address, scheme


class ProxyHeaders:
    """ASGI middleware, outside of everything that wants the client's address.

    Args:
        app: The application.
        proxies: Networks of the trusted proxies, and perhaps `unix`.
        root_path: Prefix under which clients see the application; empty for none.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str], root_path: str = "") -> None:
        self.app = app
        self._proxies = TrustedProxies(proxies)
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Correct the scope, and pass the request on."""
        if scope["type"] == "http":
            prefix = self._proxies.correct(scope) or self._root_path
            if prefix:
                path: str = scope["path"]
                scope["root_path"] = prefix
                if path == prefix:
                    scope["path"] = prefix + "/"  # `service.api.routes.page` redirects
                elif not path.startswith(prefix + "/"):  # the proxy removed it
                    scope["path"] = prefix + path
        await self.app(scope, receive, send)


class TrustedProxies:
    """Believes the headers of some proxies.

    Args:
        proxies: Their networks, and perhaps `unix`.
    """

    def __init__(self, proxies: Sequence[str]) -> None:
        self._networks = [ip_network(each, strict=False) for each in proxies if each != UNIX]
        self._trusts_unix = UNIX in proxies

    def correct(self, scope: Scope) -> str:
        """Set client and scheme of a request that comes from a trusted proxy.

        Returns:
            The prefix that the proxy says, empty for none.
        """
        return self._apply(scope) if self._trusts(scope.get("client")) else ""

    def _trusts(self, client: tuple[str, int] | None) -> bool:
        if client is None:
            return self._trusts_unix
        address = _parse(client[0])
        return address is not None and self._is_proxy(address)

    def _is_proxy(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)

    def _apply(self, scope: Scope) -> str:
        """Set client and scheme as the headers say; return their prefix, empty for none."""
        values: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name == b"forwarded" or name.startswith(b"x-forwarded-"):
                values.setdefault(name, []).append(value)
        if not values:
            return ""
        listed = [Hop(each) for each in _texts(values.get(b"x-forwarded-for", []))]
        found = [
            hop
            for hop in (self._client(hops) for hops in (listed, read_forwarded(values)) if hops)
            if hop is not None
        ]
        if found and len({hop.address for hop in found}) == 1:
            scope["client"] = (found[0].address, 0)
            scheme = found[-1].scheme or _last(values, b"x-forwarded-proto")
            if scheme in _SCHEMES:
                scope["scheme"] = scheme
        prefix = (values.get(b"x-forwarded-prefix") or [b""])[-1].rstrip(b"/")
        is_valid = len(prefix) <= MAX_PREFIX and PREFIX.fullmatch(prefix)
        return prefix.decode() if is_valid else ""

    def _client(self, hops: Sequence[Hop]) -> Hop | None:
        """Find the last hop that is no trusted proxy; None if that is no address."""
        for hop in hops[: -MAX_HOPS - 1 : -1]:
            address = _parse(hop.address)
            if address is None:  # hidden, or nonsense: whatever comes before it is not believed
                return None
            hop.address = str(address)
            if not self._is_proxy(address):
                return hop
        return hops[0] if len(hops) <= MAX_HOPS else None


def read_forwarded(values: dict[bytes, list[bytes]]) -> list[Hop]:
    """Read the elements of `Forwarded` (RFC 7239); none if it is malformed."""
    text = ",".join(value.decode("latin-1") for value in values.get(b"forwarded", []))
    hops: list[Hop] = []
    element: dict[str, str] = {}
    for name, value, separator in _pairs(text):
        element[name.lower()] = value
        if separator != ";":
            hops.append(Hop(element.get("for", ""), element.get("proto", "").lower()))
            element = {}
    return hops


def _pairs(text: str) -> Iterator[tuple[str, str, str]]:
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            yield "for", "", ","  # a hop that nobody knows
            return
        quoted = match[2]
        value = match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        yield match[1], value, match[4]
        position = match.end()


def _texts(values: Sequence[bytes]) -> list[str]:
    text = ",".join(value.decode("latin-1") for value in values)
    return [part.strip() for part in text.split(",")] if text else []


def _last(values: dict[bytes, list[bytes]], name: bytes) -> str:
    return (_texts(values.get(name, [])) or [""])[-1].lower()


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address with or without port and brackets; IPv4 in IPv6's form becomes IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
