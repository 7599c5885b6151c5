"""Ask the service in this container whether it lives: for images without curl.

`python -m service.healthcheck` exits 0 if `/livez` answers 200, else 1.
"""

import http.client
import os
import sys


def main() -> int:
    """Ask once, on loopback."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(os.environ.get("RESNET_PORT", "8000")), timeout=2
    )
    try:
        connection.request("GET", "/livez")
        return 0 if connection.getresponse().status == http.client.OK else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
