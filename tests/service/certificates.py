"""Certificates that sign themselves, made by the command `openssl`."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

KIND = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True)
class Certificate:
    """Files in PEM."""

    cert: Path
    key: Path

    def trusting_client(self) -> ssl.SSLContext:
        """A client that trusts this certificate alone."""
        return ssl.create_default_context(cafile=self.cert)

    def replace_by(self, other: "Certificate") -> None:
        self.cert.write_bytes(other.cert.read_bytes())
        self.key.write_bytes(other.key.read_bytes())


def make_certificate(folder: Path, name: str) -> Certificate:
    """Make a certificate for 127.0.0.1, in two new files."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    files = ["-keyout", str(made.key), "-out", str(made.cert)]
    command = ["openssl", "req", "-x509", *KIND, "-subj", f"/CN={name}", "-addext", NAMES, *files]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made
