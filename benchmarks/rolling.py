"""Replace all containers behind HAProxy under load, again and again, and count what is lost.

`python -m benchmarks.rolling [ROUNDS] [REQUESTS]`, with a Docker engine and the images that
`make images` builds: each round runs `deploy/compose/roll` while eight clients ask through HAProxy,
half of them on a new connection for each request, and goes on until so many were answered. Lost is
each request whose answer is not 200.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.client import BROKEN, Connection, prepare
from benchmarks.images import make_image
from benchmarks.process import write_result
from model.cli import script

ROOT = Path(__file__).parents[1]
ROLL = ROOT / "deploy/compose/roll"
CLIENTS = 8
START_S = 300
Statuses = Counter[int]
"""How often each status was answered; 0 is a broken connection."""


class Stack:
    """Containers of the service behind HAProxy: a Compose project on a port of its own."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.name = f"rolling-{self.port}"
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.name,
            "RESNET_HOST": "127.0.0.1",
            "RESNET_PORT": str(self.port),
        }

    def run(self, *command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with the variables of this project, and with some more."""
        environment = {**self._environment, **variables}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    def checked(self, *command: str, **variables: str) -> str:
        """Run a command that must succeed; return what it printed."""
        done = self.run(*command, **variables)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """Run Docker Compose."""
        command = self._environment.get("DOCKER_COMPOSE", "docker-compose").split()
        return self.checked(*command, "--profile", "scale", *arguments)

    def containers(self) -> set[str]:
        """Return the ids of all containers of the service."""
        labels = {"project": self.name, "service": "resnet"}
        filters = [
            f"--filter=label=com.docker.compose.{name}={is_}" for name, is_ in labels.items()
        ]
        return set(self.checked("docker", "ps", "--all", "--quiet", *filters).split())

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[Statuses]:
        """Ask on all clients, as fast as they are answered, until the block ends."""
        statuses: Statuses = Counter()
        request = prepare(f"http://127.0.0.1:{self.port}/predict", make_image(28))
        clients = [
            asyncio.create_task(self._ask(request, statuses, keep=number % 2 == 0))
            for number in range(CLIENTS)
        ]
        try:
            yield statuses
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _ask(self, request: bytes, statuses: Statuses, *, keep: bool) -> None:
        connection: Connection | None = None
        try:
            while True:
                answer = BROKEN
                try:
                    if connection is None or not connection.is_open or not keep:
                        connection = await self._connect(connection)
                    answer = await connection.ask(request)
                except OSError:
                    await asyncio.sleep(0.1)
                statuses[answer.status] += 1
        finally:
            if connection is not None:
                connection.close()

    async def _connect(self, former: Connection | None = None) -> Connection:
        if former is not None:
            former.close()
        return await Connection.open("127.0.0.1", self.port)

    async def wait_until_up(self) -> None:
        """Wait until HAProxy has an answer to give."""
        until = time.monotonic() + START_S
        request = prepare(f"http://127.0.0.1:{self.port}/predict", make_image(28))
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                connection = await self._connect()
                answer = await connection.ask(request)
                connection.close()
                if answer.status == 200:
                    return
            await asyncio.sleep(0.2)
        raise RuntimeError("HAProxy does not answer.")


@contextmanager
def running() -> Iterator[Stack]:
    """Start HAProxy and as many containers as Compose has by default; remove them afterwards."""
    stack = Stack()
    try:
        stack.compose("up", "-d", "--no-build")
        asyncio.run(stack.wait_until_up())
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "10")


async def roll_once(stack: Stack, requests: int) -> dict[str, object]:
    """Replace all containers once, under load.

    Raises:
        RuntimeError: If they were not replaced.
    """
    before = stack.containers()
    async with stack.asked() as statuses:
        began = time.monotonic()
        done = await asyncio.to_thread(stack.run, ROLL, "--timeout", str(START_S))
        rolled_s, meanwhile = time.monotonic() - began, statuses.total()
        while statuses.total() < requests:  # noqa: ASYNC110  # a measurement may poll
            await asyncio.sleep(0.1)
    after = stack.containers()
    if done.returncode != 0 or before & after or len(before) != len(after):
        raise RuntimeError(f"roll did not replace all: {done.stdout}{done.stderr}")
    return {
        "requests": statuses.total(),
        "while_rolling": meanwhile,
        "roll_s": round(rolled_s, 1),
        "statuses": dict(statuses),
        "lost": statuses.total() - statuses[200],
    }


def main(
    rounds: Annotated[int, typer.Argument(help="How often all are replaced.")] = 5,
    requests: Annotated[int, typer.Argument(help="In each round, at least.")] = 20_000,
) -> None:
    """Measure and print."""
    measured: list[dict[str, object]] = []
    with running() as stack:
        for _ in range(rounds):
            measured.append(asyncio.run(roll_once(stack, requests)))
            print(measured[-1], flush=True)
    print(write_result("rolling", measured))


if __name__ == "__main__":
    script(main)()
