"""Trial load of a model in its own process: `python -m service.registry.trial <folder>`.

onnxruntime can crash on a bad file (its issue 23258), and that must not crash the service.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from service.errors import StartError
from service.registry.loading import try_artifact
from service.settings import PREFIX, Settings

TRIAL_TIMEOUT_S = 300.0
NICENESS = 10
"""Of the child: it yields to the models that are served, and still ends in time."""


class TrialLoad:
    """Loads candidates on trial, one at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._is_stopped = False

    def __call__(self, folder: Path) -> None:
        """Load a candidate and check its golden answers in another process.

        Raises:
            StartError: If it fails there in any way, or `stop` was called.
            OSError: If the process cannot be started.
        """
        command = [sys.executable, "-m", "service.registry.trial", str(folder)]
        environment = {**os.environ, PREFIX + "ARTIFACT": str(folder)}
        with subprocess.Popen(  # noqa: S603  # our own module, on a folder that the operator named
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",  # a crash may print any bytes
        ) as self._child:
            if self._is_stopped:
                self._child.kill()
            _lower_priority(self._child.pid)
            try:
                _, stderr = self._child.communicate(timeout=TRIAL_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                self._child.kill()
                raise StartError(f"{folder} did not load within {TRIAL_TIMEOUT_S:g} s.") from error
        code, self._child = self._child.returncode, None
        if code < 0:
            raise StartError(f"{folder} made its process end with signal {-code}.")
        if code:
            lines = [line for line in stderr.splitlines() if line.strip()]
            last = lines[-1] if lines else f"{folder} failed to load."
            raise StartError(last.removeprefix("error: "))

    def stop(self) -> None:
        """End the present trial, and any later one at its start."""
        self._is_stopped = True
        if (child := self._child) is not None:
            child.kill()


def _lower_priority(pid: int) -> None:
    """Lower the child's priority, from its first import on."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, pid, os.nice(0) + NICENESS)


def main() -> int:
    """Run as the child: exit with 0 if the artifact can be served."""
    with contextlib.suppress(OSError):  # if memory runs out, this process ends, not the service
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        try_artifact(Settings())
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
