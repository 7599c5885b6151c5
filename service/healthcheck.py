"""The health check of a container, for images without curl.

`python -m service.healthcheck` exits 0 if `/livez` answers 200, else 1. It connects to
`RESNET_METRICS_PORT` if that is set, else to `RESNET_UDS` or `RESNET_HOST` and `RESNET_PORT`, with
TLS where that is set. A service that wants certificates of its clients needs a port for metrics.
"""

import contextlib
import http.client
import os
import socket
import ssl
import sys

TIMEOUT_S = 2
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing listens here
"""A service that listens on all addresses is asked on loopback."""


def _setting(name: str, default: str = "") -> str:
    """Read a variable; its name in any case, as the service does."""
    given = {each.upper(): value for each, value in os.environ.items()}
    return given.get(f"RESNET_{name}", default)


def service_address() -> tuple[str, int]:
    """Return host and port to ask; the port of metrics, if there is one, has no TLS."""
    host = _setting("HOST", "127.0.0.1").removeprefix("[").removesuffix("]")
    port = int(_setting("METRICS_PORT", "0")) or int(_setting("PORT", "8000"))
    return LOOPBACK.get(host, host), port


def connect() -> http.client.HTTPConnection:
    """Connect to where the service listens."""
    has_metrics_port = int(_setting("METRICS_PORT", "0")) > 0
    if _setting("TLS_CERT") and not has_metrics_port:
        context = ssl.create_default_context()
        context.check_hostname = False  # the certificate is for the name that clients use
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(*service_address(), timeout=TIMEOUT_S, context=context)
    connection = http.client.HTTPConnection(*service_address(), timeout=TIMEOUT_S)
    if (path := _setting("UDS")) and not has_metrics_port:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(path)
    return connection


def main() -> int:
    """Send one request."""
    try:
        with contextlib.closing(connect()) as connection:
            connection.request("GET", "/livez", headers={"Host": "localhost"})
            return 0 if connection.getresponse().status == http.client.OK else 1
    except (OSError, ValueError, http.client.HTTPException):
        return 1


if __name__ == "__main__":
    sys.exit(main())
