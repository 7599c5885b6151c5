"""Try a model in a process of its own: `python -m service.probe <folder>`.

onnxruntime can crash on a bad file (its issue 23258), and a crash must not reach a service
that runs well with the model that it has.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from service.errors import StartError
from service.loading import load_classifier
from service.settings import PREFIX, Settings

PROBE_TIMEOUT_S = 120.0


def probe(folder: Path) -> None:
    """Load a candidate and ask its golden answers in a process of its own.

    Raises:
        StartError: If it fails there, however it fails.
    """
    command = [sys.executable, "-m", "service.probe", str(folder)]
    environment = {**os.environ, PREFIX + "ARTIFACT": str(folder)}
    try:
        done = subprocess.run(  # noqa: S603  # our own module, on a folder that the operator named
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StartError(f"{folder} did not load within {PROBE_TIMEOUT_S:g} s.") from error
    if done.returncode < 0:
        raise StartError(f"{folder} ended its process with signal {-done.returncode}.")
    if done.returncode:
        told = _last_line(done.stderr.splitlines())
        raise StartError(told.removeprefix("error: ") or f"{folder} failed to load.")


def _last_line(lines: Iterable[str]) -> str:
    return next((line for line in reversed(list(lines)) if line.strip()), "")


def main() -> int:
    """Be the child of `probe`: exit 0 if the artifact may be served."""
    try:
        load_classifier(Settings())
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
