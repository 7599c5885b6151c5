"""A certificate for a server on this machine, and the ways in which its files are spoilt."""

import subprocess
from pathlib import Path

from benchmarks.client import Connection
from benchmarks.process import Process

OPENSSL = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2")
NAMES = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")


class Certificate:
    """Two files in PEM, made by `openssl`.

    Args:
        folder: For the files.
    """

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        other_key = folder / "other.key"
        for key, cert in ((other_key, folder / "other.crt"), (self.key, self.cert)):
            command = [*OPENSSL, *NAMES, "-keyout", str(key), "-out", str(cert)]
            subprocess.run(command, check=True, capture_output=True)
        self._whole = {path: path.read_bytes() for path in (self.cert, self.key)}
        self._bad = (
            (self.cert, self._whole[self.cert][:300]),
            (self.cert, None),
            (self.cert, b""),
            (self.key, other_key.read_bytes()),
            (self.key, b"no key"),
        )

    def settings(self) -> dict[str, str]:
        """Name the files for the service."""
        return {"tls_cert": str(self.cert), "tls_key": str(self.key)}

    def spoil(self, number: int) -> None:
        """Spoil one of the files, each time in another way."""
        path, content = self._bad[number % len(self._bad)]
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    def restore(self) -> None:
        """Make the files whole again."""
        for path, content in self._whole.items():
            path.write_bytes(content)

    @staticmethod
    async def is_served(server: Process) -> bool:
        """Tell whether a new connection gets the certificate as it was at the start."""
        try:
            (await Connection.open("127.0.0.1", server.port, server.context)).close()
        except OSError:
            return False
        return True
