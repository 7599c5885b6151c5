"""Ten polite clients beside one that floods: how much of its rate does each polite one keep?

`python -m benchmarks.fairness [ARTIFACT] [SECONDS]`: the server on one core, all clients on
another, each client with a key of its own. The polite ones ask at a constant rate, a twentieth of
the capacity each. The flood is one of: small requests on 128 connections; requests of 64 images on
16; bodies of 10 MB that hardly arrive, on 40. Without limits, and with limits of twice a polite
client's rate. `kept` is the worst polite client's answers of what it asked for; `alone` is the same
without a flood. A `rate_of_the_load` under 1 says that the clients' own core was too slow.
"""

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import Connection, Load, closed_loop, prepare
from benchmarks.images import form, make_image
from benchmarks.open_loop import open_loop
from benchmarks.process import Process, ours, pin_to, serving, write_result
from model.cli import script

POLITE = 10
SHARE = 0.5
"""Of the capacity, all polite clients together."""
BODY_BYTES = 10_000_000
FLOOD_KEY = "X-API-Key: flood\r\n"

Flood = Callable[[Process, float], Coroutine[Any, Any, Load]]


async def no_flood(server: Process, seconds: float) -> Load:  # noqa: ARG001
    """Leave the polite clients alone."""
    return Load()


async def small_requests(server: Process, seconds: float) -> Load:
    """Ask as fast as answers come."""
    url = server.url("/predict")
    return await closed_loop(url, prepare(url, make_image(28), headers=FLOOD_KEY), 128, seconds)


async def many_images(server: Process, seconds: float) -> Load:
    """Ask with as many images as a request may have."""
    url = server.url("/predict")
    request = prepare(url, *form(make_image(28), 64), headers=FLOOD_KEY)
    return await closed_loop(url, request, 16, seconds)


async def slow_bodies(server: Process, seconds: float) -> Load:
    """Send large bodies that stop short of their end."""
    request = prepare(server.url("/predict"), bytes(BODY_BYTES), headers=FLOOD_KEY)[:-1000]
    load = Load()

    async def one() -> None:
        while True:
            connection = await Connection.open("127.0.0.1", server.port)
            try:
                load.note(await connection.ask(request), 0.0)
            finally:
                connection.close()

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(one() for _ in range(40))), seconds)
    return load


FLOODS: dict[str, Flood] = {
    "alone": no_flood,
    "small requests": small_requests,
    "64 images a request": many_images,
    "slow bodies": slow_bodies,
}


async def beside(
    server: Process, flood: Flood, rate: float, seconds: float
) -> tuple[list[Load], Load]:
    """Let all clients ask at once."""
    url, image = server.url("/predict"), make_image(28)
    polite = [
        open_loop(url, prepare(url, image, headers=f"X-API-Key: polite-{n}\r\n"), rate, seconds, 8)
        for n in range(POLITE)
    ]
    *loads, flooded = await asyncio.gather(*polite, flood(server, seconds))
    return loads, flooded


def measure(server: Process, rate: float, seconds: float) -> dict[str, Any]:
    """Each flood in turn; what the polite clients saw."""
    found: dict[str, Any] = {}
    for name, flood in FLOODS.items():
        loads, flooded = uvloop.run(beside(server, flood, rate, seconds))
        found[name] = {
            "kept": round(min(len(load.latencies) / int(rate * seconds) for load in loads), 3),
            "rate_of_the_load": round(min(seconds / load.sent_s for load in loads), 3),
            "p50_ms": round(max(load.percentile_ms(50) for load in loads), 1),
            "p99_ms": round(max(load.percentile_ms(99) for load in loads), 1),
            "polite_statuses": dict(sum((load.statuses for load in loads), Counter[int]())),
            "flood_statuses": dict(flooded.statuses),
        }
        print(f"  {name}", found[name], flush=True)
    return found


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 5) -> None:
    """Measure and print."""
    pin_to({1})
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        names = [*(f"polite-{number}" for number in range(POLITE)), "flood"]
        keys.write("".join(f"{name}: {name}\n" for name in names))
        keys.flush()
        given = {"artifact": str(artifact), "api_keys_file": keys.name, "log_level": "warning"}
        command, environment = ours(**given)
        measured: dict[str, Any] = {}
        with serving(command, environment, cores={0}) as server:
            full = uvloop.run(small_requests(server, seconds))
            rate = SHARE * full.per_second / POLITE
            measured |= {"capacity_per_s": round(full.per_second, 1), "rate_per_s": round(rate, 1)}
            print(measured)
            measured["without limits"] = measure(server, rate, seconds)
        limits = {
            "client_requests_s": str(2 * rate),
            "client_images_s": str(2 * rate),
            "client_max_in_flight": "64",
        }
        command, environment = ours(**given, **limits)
        with serving(command, environment, cores={0}) as server:
            measured["with limits"] = measure(server, rate, seconds)
    print(write_result(f"fairness-{artifact.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
