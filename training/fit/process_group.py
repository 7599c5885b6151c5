"""The processes of a run as a group: they start together, agree on what they do, and end together.

With a single process nothing here does anything. Unverified with NCCL: no machine with several
GPUs was at hand.
"""

import atexit
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from training.distributed import processes
from training.errors import OtherProcessError, TrainingError

TIMEOUT = timedelta(minutes=10)
"""A process that does not take its part in a step for so long is given up."""
PREPARATION_TIMEOUT = timedelta(hours=2)
"""Before the first step: hosts read images at different speed, and rank 0 reports on them."""
SIGNS = ("gloo/", "Timed out waiting", "Connection closed by peer", "Connection reset by peer")
"""In messages of gloo's errors, which are plain `RuntimeError`, where a process is gone."""
MAX_SHOWN = 40
"""Characters of a value in a message."""

Value = TypeVar("Value")


def is_group() -> bool:
    """Whether there are several processes, and they are connected."""
    return dist.is_available() and dist.is_initialized()


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes of a run, and disconnect them at its end; within another: nothing.

    Raises:
        TrainingError: If they cannot be connected, or hosts have unequal numbers of them.
    """
    here = processes()
    if here.world_size == 1 or is_group():
        yield
        return
    if here.local_world_size * here.nodes != here.world_size:
        raise TrainingError(
            f"There are {here.world_size} processes on {here.nodes} hosts, {here.local_world_size} "
            "on this one. Start the same number on each (torchrun --nproc-per-node)."
        )
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(here.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    with _lost_process_in_one_line():
        dist.init_process_group(backend, timeout=TIMEOUT)
        _preparation()
    try:
        yield
    except BaseException:
        atexit.register(_end_at_once)
        raise
    _preparation.cache_clear()
    dist.destroy_process_group()


def _end_at_once() -> None:
    """End a process that has failed, and said so: gloo would wait for those that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


@cache
def _preparation() -> dist.ProcessGroup:
    """Connect the processes a second time, for what may take longer than a step."""
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=PREPARATION_TIMEOUT)
    return group


class together(AbstractContextManager[None]):  # noqa: N801  # reads as a statement
    """Prepare something in each process; go on only if all could.

    Where some could not, the lowest rank among them raises its own error, and the others
    `OtherProcessError`. The body calls nothing that waits for other processes, except as its first
    statement.
    """

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the others."""
        if not is_group() or not isinstance(error, Exception | None):
            return
        failed = [rank for rank, has_failed in enumerate(_gather(error is not None)) if has_failed]
        if failed:
            ignore_sigterm()
        if failed and failed[0] != processes().rank:
            raise OtherProcessError(f"Rank {failed[0]} could not continue.") from error


def from_rank_0(value: Value) -> Value:
    """Give all processes what rank 0 has."""
    if not is_group():
        return value
    box = [value]
    with _lost_process_in_one_line():
        dist.broadcast_object_list(box, src=0, group=_preparation())
    return box[0]


def check_agreement(values: Mapping[str, object]) -> None:
    """Check that all processes train the same run.

    Args:
        values: What must be the same, by name.

    Raises:
        TrainingError: If a value differs; it names the host.
    """
    if not is_group():
        return
    mine = {name: str(value) for name, value in values.items()}
    everyone = _gather((socket.gethostname(), mine))
    _, expected = everyone[0]
    for rank, (host, found) in enumerate(everyone):
        for name, value in found.items():
            if value != expected[name]:
                raise TrainingError(
                    f"Rank {rank}, on {host}, has another {name} ({_short(value)}) "
                    f"than rank 0 ({_short(expected[name])}). All hosts need the same "
                    "images, first weights and versions."
                )


def by_rank(tensor: torch.Tensor) -> torch.Tensor:
    """Stack what each process has, a tensor of one shape on the host: (ranks, ...)."""
    everyone = [torch.empty_like(tensor) for _ in range(processes().world_size)]
    dist.all_gather(everyone, tensor)
    return torch.stack(everyone)


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _gather(value: Value) -> list[Value]:
    """Collect what each process has, by rank."""
    everyone: list[Any] = [None] * processes().world_size
    with _lost_process_in_one_line():
        dist.all_gather_object(everyone, value, group=_preparation())
    return everyone


@contextmanager
def _lost_process_in_one_line() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        ignore_sigterm()
        what = str(error).splitlines()[0]
        raise TrainingError(
            "The processes of the run cannot reach each other, or one has ended "
            f"({what}). If hosts have several networks, set GLOO_SOCKET_IFNAME and "
            "NCCL_SOCKET_IFNAME to the one between them."
        ) from error


def lost_process(error: BaseException, last: Path) -> str:
    """Say in one line that another process is gone; empty if the error is another one.

    Args:
        error: What ended this process's part of the run.
        last: The run's last checkpoint, which need not be there.
    """
    text = str(error)
    if not is_group() or not isinstance(error, RuntimeError):
        return ""
    if not isinstance(error, dist.DistError) and not any(sign in text for sign in SIGNS):
        return ""
    minutes = f"{TIMEOUT.total_seconds() / 60:.3g} minutes"
    way = "Start again: nothing was saved yet."
    if last.exists():
        way = f"Continue with --resume, with any number of processes: {last} is intact."
    return (
        f"Another process of the run has ended, or did not answer for {minutes} "
        f"({text.splitlines()[0]}). {way}"
    )


def ignore_sigterm() -> None:
    """Let this process say how it ended: torchrun sends SIGTERM as soon as another has."""
    if processes().by_torchrun and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
