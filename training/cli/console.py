"""What the training commands share: the log of `training` on stdout, and how they start."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from model.cli import script
from training.distributed import processes


class _Echo(logging.Handler):
    """Prints a message as it is; of several processes the first one's, and warnings of all."""

    def emit(self, record: logging.LogRecord) -> None:
        rank = processes().rank
        if rank == 0:
            typer.echo(record.getMessage())
        elif record.levelno >= logging.WARNING:
            typer.echo(f"rank {rank}: {record.getMessage()}")


@contextmanager
def console_log() -> Iterator[None]:
    """Print what `training` logs."""
    log, echo = logging.getLogger("training"), _Echo()
    before = log.level, log.propagate
    log.addHandler(echo)
    log.setLevel(logging.INFO)
    log.propagate = False  # a library may have given the root logger a handler of its own
    try:
        yield
    finally:
        log.removeHandler(echo)
        log.level, log.propagate = before


def console_script(function: Callable[..., None]) -> Callable[[], None]:
    """Make a console script of a function."""
    run = script(function)

    def main() -> None:
        with console_log():
            run()

    return main
