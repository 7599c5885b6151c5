"""Which names of this service a request may ask for, in its `Host` header."""

from collections.abc import Collection

from starlette.types import Scope

from service.errors import MalformedRequestError


class AllowedHosts:
    """Refuses requests for other names: a name that leads here by somebody else's DNS.

    Args:
        names: In lower case, without port; `*.example.com` stands for all names below it.
    """

    def __init__(self, names: Collection[str]) -> None:
        lowered = [name.lower() for name in names]
        self._names = frozenset(name for name in lowered if not name.startswith("*."))
        self._suffixes = tuple(name[1:] for name in lowered if name.startswith("*."))

    def check(self, scope: Scope) -> None:
        """Check the only `Host` header.

        Raises:
            MalformedRequestError: If it is another name, or there is none, or more than one.
        """
        found = [value for name, value in scope["headers"] if name == b"host"]
        host = _without_port(found[0].decode("latin-1").lower()) if len(found) == 1 else ""
        if host in self._names or (self._suffixes and host.endswith(self._suffixes)):
            return
        raise MalformedRequestError(
            f"The host {host[:100]!r} is not served here. Use a name in RESNET_ALLOWED_HOSTS."
        )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
