"""Ask the service in this container whether it lives: for images without curl.

`python -m service.healthcheck` exits 0 if `/livez` answers 200, else 1. It asks where `RESNET_HOST`
and `RESNET_PORT` have the service listen.
"""

import http.client
import os
import sys

ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing listens here
"""Who listens on all addresses is asked on loopback."""


def where() -> tuple[str, int]:
    """Read the address and the port; names of variables in any case, as the service does."""
    given = {name.upper(): value for name, value in os.environ.items()}
    host = given.get("RESNET_HOST", "127.0.0.1").removeprefix("[").removesuffix("]")
    return ANY.get(host, host), int(given.get("RESNET_PORT", "8000"))


def main() -> int:
    """Ask once."""
    try:
        connection = http.client.HTTPConnection(*where(), timeout=2)
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        return 0 if connection.getresponse().status == http.client.OK else 1
    except (OSError, ValueError, http.client.HTTPException):
        return 1


if __name__ == "__main__":
    sys.exit(main())
