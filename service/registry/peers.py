"""The workers of one service, who all follow a change that one of them was asked for.

They share the folder that `service.server.workers` makes. The worker that is asked writes the
number of the change there; each worker looks for a new number a few times a second, follows, and
writes what it serves since then. A single process has no such folder, and nobody to wait for.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from service.log import log
from service.settings import MULTIPROCESS_FOLDER

POLL_S = 0.05
FOLLOW_S = 300.0
"""For all workers to follow; one that does not move is replaced long before."""
LOADING = -1
"""Number of a worker that has not started yet."""


class Change(NamedTuple):
    """What one worker was asked for: a number, and the model's name."""

    number: int = 0
    model: str = ""


class WorkerState(NamedTuple):
    """What a worker serves after a change: versions of each model, and why others failed."""

    number: int
    versions: Mapping[str, list[str]]
    failed: Mapping[str, str]


_CHANGE, _STATE = TypeAdapter(Change), TypeAdapter(WorkerState)


class Peers:
    """All workers, as one of them sees them; to be made before it loads its models."""

    def __init__(self) -> None:
        folder = os.environ.get(MULTIPROCESS_FOLDER)
        self._folder = None if folder is None else Path(folder)
        self._own: WorkerState | None = None
        self.confirm(WorkerState(LOADING, {}, {}))
        self.at_start = self.last_change().number

    @property
    def is_behind(self) -> bool:
        """Whether this worker has not followed the last change yet."""
        return self._own is not None and self.last_change().number != self._own.number

    def last_change(self) -> Change:
        """Return the last change that a worker was asked for."""
        if self._folder is not None:
            with suppress(FileNotFoundError):
                return _CHANGE.validate_json((self._folder / "change.json").read_bytes())
        return Change()

    def confirm(self, state: WorkerState) -> None:
        """Tell the others what this worker serves."""
        before, self._own = self._own, state
        if state == before:
            return
        try:
            self._write(f"worker-{os.getpid()}.json", _STATE.dump_json(state))
        except OSError as error:  # requests are answered without it
            log.warning("workers not told", extra={"fields": {"why": str(error)}})

    def announce(self, model: str) -> int:
        """Have all workers follow a change; return its number."""
        if self._folder is None:
            return 0
        number = self.last_change().number + 1
        self._write("change.json", _CHANGE.dump_json(Change(number, model)))
        return number

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Keep the other workers from a change of their own."""
        if self._folder is None:
            yield
            return
        with (self._folder / "change.lock").open("w") as file:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                await asyncio.sleep(POLL_S)
            yield

    async def followed(self, number: int) -> list[WorkerState]:
        """Wait until all workers have followed a change.

        Raises:
            TimeoutError: If one does not, though it lives.
        """
        until = time.monotonic() + FOLLOW_S
        while True:
            states = self._states()
            if all(state.number >= number for state in states):
                return states
            if time.monotonic() > until:
                raise TimeoutError
            await asyncio.sleep(POLL_S)

    def _states(self) -> list[WorkerState]:
        """Read the states of all workers that live, and forget the others."""
        states = []
        for path in () if self._folder is None else self._folder.glob("worker-*.json"):
            try:
                os.kill(int(path.stem.partition("-")[2]), 0)
            except ProcessLookupError:
                path.unlink(missing_ok=True)
            else:
                states.append(_STATE.validate_json(path.read_bytes()))
        return states

    def _write(self, name: str, content: bytes) -> None:
        """Write a file so that others read it as it was or as it is."""
        if self._folder is not None:
            temporary = self._folder / f".{name}.tmp"
            temporary.write_bytes(content)
            temporary.replace(self._folder / name)
