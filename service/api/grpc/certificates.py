"""The certificate of gRPC: the files of HTTP's, which `service.server.certificates` checks."""

import contextlib
from typing import Any

import grpc

from service.settings import Settings


class Certificates:
    """The files as they were last read, for each new connection.

    Args:
        settings: Name the files, which can be used.

    Attributes:
        credentials: Of gRPC's server.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read = self._given = _read(settings)
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._given,
            self._next,
            require_client_authentication=settings.tls_client_ca is not None,
        )

    def reload(self) -> None:
        """Read the files again; if they cannot be read any more, all stays as it was."""
        with contextlib.suppress(OSError):
            self._read = _read(self._settings)

    def _next(self) -> Any:
        """Give new files once, and else None; asked for each connection, by a thread of gRPC."""
        if self._read is self._given:
            return None
        self._given = self._read
        return self._given


def _read(settings: Settings) -> Any:
    cert, client_ca = settings.tls_cert, settings.tls_client_ca
    if cert is None:
        raise ValueError("`tls_cert` must be set.")
    pair = (settings.tls_key or cert).read_bytes(), cert.read_bytes()
    authorities = None if client_ca is None else client_ca.read_bytes()
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)
