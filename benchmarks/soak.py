"""The promises that only many repetitions can test: nothing lost, no work for disconnected clients.

`python -m benchmarks.soak [terminations departures reloads tls]`, against the shipped
artifact and a real server process under load:

- terminations: SIGTERM 20 times; a request that was accepted and not answered is lost.
- departures: 1,000 clients leave while queued; how many images were executed all the same.
- reloads: 50 good versions and 40 bad ones on SIGHUP; no request may fail, no bad one serve.
- tls: terminations and reloads over TLS; each bad version comes with a spoilt certificate.
"""

import asyncio
import random
import re
import resource
import signal
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.certificates import Certificate
from benchmarks.client import Clients, Connection, prepare
from benchmarks.images import form, make_image
from benchmarks.process import Process, ours, serving, write_result
from benchmarks.versions import reloads
from model.cli import script

TERMINATIONS = 20
LEAVERS, LEAVERS_AT_ONCE = 1_000, 250
WAITING, IMAGES = 24, 64
"""Requests ahead of those that leave, and images in each: a second of work and more."""


async def _terminate_under_load(server: Process, after_s: float) -> tuple[Counter[int], int]:
    """Give the statuses that the clients saw (0: accepted and lost), and the exit code."""
    clients = Clients(server.url("/predict"), make_image(28), 16, server.context)
    asking = asyncio.create_task(clients.ask())
    await asyncio.sleep(after_s)
    server.started.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asking, 60)
    code = await asyncio.to_thread(server.started.wait, 60)
    return clients.statuses, code


def terminations(workers: str, certificate: Certificate | None = None) -> dict[str, object]:
    """SIGTERM under load, again and again."""
    files = {} if certificate is None else certificate.settings()
    statuses: Counter[int] = Counter()
    codes: Counter[int] = Counter()
    pause = random.Random(0)  # noqa: S311  # moments, no secrets
    for _ in range(TERMINATIONS):
        command, environment = ours(
            workers=workers, drain_delay_s="0.2", log_level="warning", **files
        )
        with serving(command, environment) as server:
            found, code = asyncio.run(_terminate_under_load(server, pause.uniform(0.2, 0.8)))
        statuses += found
        codes[code] += 1
    return {
        "workers": workers,
        "signals": TERMINATIONS,
        "statuses": dict(statuses),
        "lost": statuses[0],
        "exit_codes": dict(codes),
    }


def metric(server: Process, name: str) -> float:
    """Read a counter without labels from `/metrics`."""
    with urllib.request.urlopen(server.url("/metrics"), timeout=30) as response:  # noqa: S310
        found = re.search(rf"^{name} (\S+)$", response.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


async def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.perf_counter() + seconds
    while not await asyncio.to_thread(condition):
        if time.perf_counter() > end:
            raise TimeoutError("what was waited for did not happen")
        await asyncio.sleep(0.02)


async def _leave_while_queued(server: Process) -> tuple[int, Counter[int]]:
    """Queue requests, then clients that leave; count the images run beyond those requests."""
    url = server.url("/predict")
    before = metric(server, "resnet_images_executed_total")
    body, content_type = form(make_image(28), IMAGES)
    ahead = [await Connection.open("127.0.0.1", server.port) for _ in range(WAITING)]
    asking = [asyncio.create_task(each.ask(prepare(url, body, content_type))) for each in ahead]
    leaving = [await Connection.open("127.0.0.1", server.port) for _ in range(LEAVERS_AT_ONCE)]
    await _until(lambda: metric(server, "resnet_images_in_flight") > WAITING * IMAGES / 2)
    left = [asyncio.create_task(each.ask(prepare(url, make_image(28)))) for each in leaving]
    await asyncio.sleep(0.2)  # the server reads them: a small part of the time of those ahead
    for each in leaving:
        each.close()
    answers = await asyncio.gather(*asking)
    await asyncio.gather(*left)
    await _until(lambda: metric(server, "resnet_images_in_flight") == 0)
    executed = metric(server, "resnet_images_executed_total") - before
    return int(executed) - WAITING * IMAGES, Counter(answer.status for answer in answers)


def departures() -> dict[str, object]:
    """Clients leave while their images wait; count those that were executed all the same."""
    statuses: Counter[int] = Counter()
    executed = 0
    command, environment = ours(
        max_in_flight="4096",
        deadline_s="60",
        workers="1",
        precision="float32",
        intra_op_threads="1",
        concurrent_runs="1",
        log_level="warning",
    )
    with serving(command, environment) as server:
        for _ in range(LEAVERS // LEAVERS_AT_ONCE):
            more, found = asyncio.run(_leave_while_queued(server))
            executed += more
            statuses += found
        metrics = server.url("/metrics")
        with urllib.request.urlopen(metrics, timeout=30) as response:  # noqa: S310
            counted = re.search(r'code="client_disconnected"} (\S+)', response.read().decode())
    return {
        "left": LEAVERS,
        "told_client_left": float(counted[1]) if counted else 0.0,
        "executed": executed,
        "never_executed": LEAVERS - executed,
        "patient_statuses": dict(statuses),
    }


def over_tls() -> list[object]:
    """Terminations and reloads over TLS."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = Certificate(Path(folder))
        ends = [terminations(workers, certificate) for workers in ("1", "2")]
        return [*ends, reloads(certificate)]


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="terminations, departures, reloads, tls; all if none."),
    ] = None,
) -> None:
    """Run what was named, or all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    runs: dict[str, Callable[[], object]] = {
        "terminations": lambda: [terminations("1"), terminations("2")],
        "departures": departures,
        "reloads": reloads,
        "tls": over_tls,
    }
    if unknown := set(names or ()) - set(runs):
        raise typer.BadParameter(f"{', '.join(unknown)} is none of {', '.join(runs)}")
    for name in names or runs:
        measured = runs[name]()
        print(measured, write_result(f"soak-{name}", measured), flush=True)


if __name__ == "__main__":
    script(main)()
