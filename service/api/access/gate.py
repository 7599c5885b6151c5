"""Decide by a request's head whether it may continue: its key first, then its client's limits.

`service.api.middleware` asks before anything else, so neither load shedding nor a route answers a
request without a valid key.
"""

from starlette.types import Scope

from service.api.access.control import HEALTH, METRICS, AccessControl
from service.api.access.hosts import AllowedHosts
from service.api.access.keys import KeyRing
from service.api.access.limits import ClientLimits, client_name
from service.api.problems import V2
from service.api.record import RequestRecord
from service.api.rejection import Rejection
from service.errors import (
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    StartError,
    UnauthorizedError,
)
from service.log import log
from service.settings import Settings

UNLIMITED = HEALTH | {METRICS}
"""Machines ask for these, and need an answer while their address sends too much."""
MAX_WRITTEN = 64
"""Rejections that are kept to be repeated; they differ in the time to wait alone."""


class Gate:
    """Finds the key of a request and the limits of its client.

    Args:
        hosts: Names that may be asked for; None: any.
        control: Finds keys; None: no key is needed.
        limits: Of each client; None: there are none.
        metrics_port: Serves metrics and health alone; 0: there is none.
    """

    def __init__(
        self,
        hosts: AllowedHosts | None,
        control: AccessControl | None,
        limits: ClientLimits | None,
        metrics_port: int = 0,
    ) -> None:
        self._hosts = hosts
        self._control = control
        self.limits = limits
        self._metrics_port = metrics_port
        self._written: dict[tuple[bool, str], Rejection] = {}
        self._refused = ""  # why the file of keys was refused last

    def check(self, scope: Scope, record: RequestRecord) -> Rejection | None:
        """Note key and client of a request in its record.

        Returns:
            How to reject a client that asks for too much; None if the request may continue.

        Raises:
            UnauthorizedError: If there is no valid key.
            ForbiddenError: If the key lacks a scope.
            MalformedRequestError: If another host is asked for.
            NotFoundError: If another port serves the path.
        """
        try:
            self.admit(scope, record)
        except RateLimitedError as error:
            return self._repeated(record.path, error)
        if self._hosts is not None and record.path not in UNLIMITED:
            self._hosts.check(scope)
        if self._metrics_port:
            self._check_port(scope, record.path)
        return None

    def _check_port(self, scope: Scope, path: str) -> None:
        """Keep metrics apart from everything else; health is on both ports.

        Raises:
            NotFoundError: If the other port serves the path.
        """
        server = scope.get("server")
        is_metrics_port = server is not None and server[1] == self._metrics_port
        if is_metrics_port and path not in UNLIMITED:
            raise NotFoundError(
                f"There is no {path[:100]} on this port, which is only for metrics and health."
            )
        if path == METRICS and not is_metrics_port:
            raise NotFoundError("Metrics are on another port, RESNET_METRICS_PORT.")

    def admit(self, scope: Scope, record: RequestRecord) -> None:
        """Note key and client of a request in its record, whatever host it asks for.

        Raises:
            UnauthorizedError: If there is no valid key.
            ForbiddenError: If the key lacks a scope.
            RateLimitedError: If the client asks for too much.
        """
        try:
            key = None if self._control is None else self._control.check(scope, record.path)
        except (UnauthorizedError, ForbiddenError):  # who guesses keys is limited, too
            self._enter(record)
            raise
        if key is not None:
            record.key, record.is_admin = key.name, "admin" in key.scopes
        self._enter(record)

    def _enter(self, record: RequestRecord) -> None:
        """Count the request for its client."""
        if self.limits is not None and record.path not in UNLIMITED:
            name = f"key {record.key}" if record.key else client_name(record.client)
            record.usage = self.limits.enter(name)

    def _repeated(self, path: str, error: RateLimitedError) -> Rejection:
        """Write a rejection, unless the same has been written before."""
        what = path.startswith(V2), str(error)
        if what not in self._written:
            if len(self._written) >= MAX_WRITTEN:
                self._written.clear()
            self._written[what] = Rejection("none", path, error)
        return self._written[what]

    def reload(self) -> None:
        """Read the keys again; if their file is refused, they stay as they were.

        Logged is what changed: this is called every `RESNET_RELOAD_INTERVAL_S`.
        """
        if self._control is None:
            return
        ring, refused = self._control.keys, self._refused
        before, self._refused = ring.keys, ""
        try:
            ring.reload()
        except StartError as error:
            self._refused = str(error)
            if self._refused != refused:
                log.error("keys refused", extra={"fields": {"reason": self._refused}})
        else:
            if refused or ring.keys != before:
                log.info("keys read", extra={"fields": {"keys": len(ring.keys)}})


def read_gate(settings: Settings) -> Gate | None:
    """Make the gate that the settings ask for; None if they ask for none.

    Raises:
        StartError: If the file of keys is refused.
    """
    limits = ClientLimits(settings)
    control = None
    if settings.api_keys_file is not None:
        control = AccessControl(KeyRing(settings.api_keys_file), settings.public_routes)
    hosts = AllowedHosts(settings.allowed_hosts) if settings.allowed_hosts else None
    port = settings.metrics_port
    if hosts is None and control is None and not limits.are_set and not port:
        return None
    return Gate(hosts, control, limits if limits.are_set else None, port)
