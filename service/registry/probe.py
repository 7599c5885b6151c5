"""Try a model in a process of its own: `python -m service.registry.probe <folder>`.

onnxruntime can crash on a bad file (its issue 23258), and a crash must not reach a service
that runs well with the model that it has.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from service.errors import StartError
from service.registry.loading import try_artifact
from service.settings import PREFIX, Settings

PROBE_TIMEOUT_S = 300.0
NICENESS = 5
"""Of the child: what is served goes before what is tried, and a trial still ends in time."""


class Probe:
    """Tries candidates, one at a time."""

    def __init__(self) -> None:
        """Nothing is tried yet."""
        self._child: subprocess.Popen[str] | None = None
        self._is_over = False

    def __call__(self, folder: Path) -> None:
        """Load a candidate and ask its golden answers in a process of its own.

        Raises:
            StartError: If it fails there, however it fails, or `stop` was called.
            OSError: If there can be no such process at the moment.
        """
        command = [sys.executable, "-m", "service.registry.probe", str(folder)]
        environment = {**os.environ, PREFIX + "ARTIFACT": str(folder)}
        with subprocess.Popen(  # noqa: S603  # our own module, on a folder that the operator named
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",  # what a crash leaves behind may be any bytes
        ) as self._child:
            if self._is_over:
                self._child.kill()
            _yield_to_others(self._child.pid)
            try:
                _, told = self._child.communicate(timeout=PROBE_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                self._child.kill()
                raise StartError(f"{folder} did not load within {PROBE_TIMEOUT_S:g} s.") from error
        code, self._child = self._child.returncode, None
        if code < 0:
            raise StartError(f"{folder} ended its process with signal {-code}.")
        if code:
            line = _last_line(told.splitlines())
            raise StartError(line.removeprefix("error: ") or f"{folder} failed to load.")

    def stop(self) -> None:
        """End a trial that is under way, and any that comes: nobody wants to know any more."""
        self._is_over = True
        if (child := self._child) is not None:
            child.kill()


def _yield_to_others(pid: int) -> None:
    """Have the child take less of the cores than those who serve."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, pid, os.nice(0) + NICENESS)


def _last_line(lines: Iterable[str]) -> str:
    return next((line for line in reversed(list(lines)) if line.strip()), "")


def main() -> int:
    """Be the child of `probe`: exit 0 if the artifact may be served."""
    with suppress(OSError):  # where memory runs out, this process goes, not the service
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        try_artifact(Settings())
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
