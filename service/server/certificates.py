"""The certificate and key, and the authority of clients: read again on SIGHUP."""

import ssl
from pathlib import Path

from service.errors import StartError
from service.log import log
from service.settings import Settings


class Certificates:
    """The files as they were last read, for each new connection.

    Args:
        settings: Name the files.

    Attributes:
        context: For new connections.

    Raises:
        StartError: If a file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.context = read_certificates(settings)

    def reload(self) -> bool:
        """Read the files again; if they cannot be used, all stays as it was.

        Returns:
            Whether they can be used.
        """
        try:
            self.context = read_certificates(self._settings)
        except StartError as error:
            log.error("certificate refused", extra={"fields": {"why": str(error)}})
            return False
        log.info("certificate read", extra={"fields": {"file": str(self._settings.tls_cert)}})
        return True


def read_certificates(settings: Settings) -> ssl.SSLContext:
    """Read the files that the settings name.

    Raises:
        StartError: If one cannot be read, or key and certificate do not belong together.
    """
    cert, key, client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    if cert is None:
        raise ValueError("`tls_cert` must be set.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _check_readable("TLS_CERT", cert)
    _check_readable("TLS_KEY", key or cert)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")  # or OpenSSL asks at a terminal
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise StartError(
            f"RESNET_TLS_CERT (={str(cert)!r}) and RESNET_TLS_KEY "
            f"(={str(key or cert)!r}) cannot be used: {_why(error)}. Use PEM files "
            "that belong together, with a key without a password."
        ) from error
    if client_ca is not None:
        _check_readable("TLS_CLIENT_CA", client_ca)
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise StartError(
                f"RESNET_TLS_CLIENT_CA (={str(client_ca)!r}) cannot be used: "
                f"{_why(error)}. Use a PEM file of certificates."
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(name: str, path: Path) -> None:
    """Name the file that cannot be read: OpenSSL does not say which one of two."""
    try:
        path.read_bytes()
    except OSError as error:
        raise StartError(f"RESNET_{name} (={str(path)!r}): {error.strerror}.") from error


def _why(error: Exception) -> str:
    """Put OpenSSL's reason, such as KEY_VALUES_MISMATCH, into words."""
    if not isinstance(error, ssl.SSLError):
        return str(error)
    return (error.reason or "something is missing").lower().replace("_", " ")
