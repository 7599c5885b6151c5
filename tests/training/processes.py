"""`train-model` in processes of its own, forked from one that has loaded the libraries already.

Loading them takes longer than the runs of the tests do.
"""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

COMMAND = "training.cli.main"
_FORK_SERVER = multiprocessing.get_context("forkserver")
_FORK_SERVER.set_forkserver_preload([COMMAND, "training.cli.train"])


def _train(arguments: list[str], out: Path, err: Path) -> None:
    # A shell that starts pytest in the background makes its children deaf to Ctrl+C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.argv = ["train-model", *arguments]
    from training.cli.main import train_script  # noqa: PLC0415  # not in pytest's own process

    train_script()


class TrainProcess:
    """A run of `train-model`, and what it printed."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        words = [str(argument) for argument in arguments]
        self._process = _FORK_SERVER.Process(target=_train, args=(words, self._out, self._err))
        self._process.start()

    def send(self, sent: signal.Signals) -> None:
        """Send a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, sent)

    def is_running(self) -> bool:
        """Tell whether the run goes on."""
        return self._process.is_alive()

    def finish(self, timeout: float = 120) -> tuple[int, str, str]:
        """Wait for the end: exit code, standard output, standard error."""
        self._process.join(timeout)
        code = self._process.exitcode
        self.kill()
        assert code is not None, self._err.read_text()
        return code, self._out.read_text(), self._err.read_text()

    def kill(self) -> None:
        """End it without warning, if it is there still."""
        self._process.kill()
        self._process.join()
