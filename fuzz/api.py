"""Check the OpenAPI document, and ask the running service by it: without keys, and with one.

Run by `make fuzz`, in `.venv-fuzz`. The document is checked by openapi-spec-validator; schemathesis
makes requests from it, valid and invalid ones, and compares the responses with it.
"""

import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import httpx
from openapi_spec_validator import validate

from tests.service.process import ROOT, serve_model

KEY = "0123456789abcdef"
SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"
EXAMPLES = "20"
"""Requests for each operation and phase."""


def main() -> None:
    """Check both services; end with 1 if anything was found."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.touch(mode=0o600)
        keys.write_text(f"fuzz: {KEY} predict read admin")
        found = [check({}), check({"api_keys_file": str(keys)})]
    sys.exit(any(found))


def check(settings: dict[str, str]) -> bool:
    """Check one service; return whether anything was found.

    Raises:
        OpenAPIValidationError: If its document is not valid.
    """
    headers = {"X-API-Key": KEY} if settings else {}
    with serve_model(log_level="error", **settings) as service:
        address = f"{service.url}/openapi.json"
        validate(json.loads(httpx.get(address, headers=headers).content))
        command = [str(SCHEMATHESIS), "run", address, "--max-examples", EXAMPLES, "--no-color"]
        command += [part for each in headers.items() for part in ("-H", ": ".join(each))]
        return (
            subprocess.run([*command, "--continue-on-failure"], cwd=ROOT, check=False).returncode
            != 0
        )


if __name__ == "__main__":
    main()
