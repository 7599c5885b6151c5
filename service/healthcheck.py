"""The health check of a container, for images without curl.

`python -m service.healthcheck` exits 0 if `/livez` answers 200, else 1. It connects to
`RESNET_HOST` and `RESNET_PORT`.
"""

import http.client
import os
import sys

LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing listens here
"""A service that listens on all addresses is asked on loopback."""


def service_address() -> tuple[str, int]:
    """Read host and port; names of variables in any case, as the service does."""
    given = {name.upper(): value for name, value in os.environ.items()}
    host = given.get("RESNET_HOST", "127.0.0.1").removeprefix("[").removesuffix("]")
    return LOOPBACK.get(host, host), int(given.get("RESNET_PORT", "8000"))


def main() -> int:
    """Send one request."""
    try:
        connection = http.client.HTTPConnection(*service_address(), timeout=2)
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        return 0 if connection.getresponse().status == http.client.OK else 1
    except (OSError, ValueError, http.client.HTTPException):
        return 1


if __name__ == "__main__":
    sys.exit(main())
