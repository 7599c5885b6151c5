"""Twice and four times what the service can do: what is answered, and how the rest is refused.

`python -m benchmarks.overload [ARTIFACT] [SECONDS]`: the server on one core, the load on
another. Capacity is what a closed loop of 64 connections reaches, before and after; then
requests leave at a constant rate of twice and four times that. A `rate_of_the_load` under
1 says that the load's own core was too slow for that; by processor time the goodput is
what it would be if nothing else ran on the server's core.
"""

import asyncio
import time

import uvloop

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import Connection, Load, closed_loop, prepare
from benchmarks.images import make_image
from benchmarks.open_loop import open_loop
from benchmarks.process import Process, ours, pin_to, serving, write_result
from model.cli import script

DEADLINE_MS = 1_000


async def overload(
    server: Process, request: bytes, rate: float, seconds: float
) -> tuple[Load, float]:
    """Load the server, and ask for its health on a connection of its own; the slowest, in ms."""
    ask = f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
    slowest = 0.0

    async def poll_health() -> None:
        nonlocal slowest
        connection = await Connection.open("127.0.0.1", server.port)
        while True:
            began = time.perf_counter()
            answer = await connection.ask(ask)
            if answer.status != 200:
                raise RuntimeError(f"/livez answered {answer.status}")
            slowest = max(slowest, time.perf_counter() - began)
            await asyncio.sleep(0.1)

    polling = asyncio.create_task(poll_health())
    load = await open_loop(server.url("/predict"), request, rate, seconds)
    polling.cancel()
    return load, 1000 * slowest


def full(server: Process, request: bytes, seconds: float) -> tuple[float, float]:
    """Load the server with as much as it can do: answers a second, processor seconds for each."""
    before = server.cpu_s()
    load = uvloop.run(closed_loop(server.url("/predict"), request, 64, seconds))
    return load.per_second, (server.cpu_s() - before) / len(load.latencies)


def measure(server: Process, length: float) -> list[dict[str, object]]:
    """Capacity, overload, capacity again, for each factor."""
    rows: list[dict[str, object]] = []
    request = prepare(server.url("/predict"), make_image(28))
    capacity, cpu_s = full(server, request, length)
    before = server.resident_bytes()
    for factor in (2, 4):
        rate = factor * capacity
        began_cpu_s = server.cpu_s()
        load, health_ms = uvloop.run(overload(server, request, rate, length))
        each_cpu_s = (server.cpu_s() - began_cpu_s) / max(1, len(load.latencies))
        again, again_cpu_s = full(server, request, length)
        rows.append(
            {
                "factor": factor,
                "capacity_per_s": round((capacity + again) / 2, 1),
                "rate_of_the_load": round(length / load.sent_s, 3),
                "goodput_of_capacity": round(2 * load.per_second / (capacity + again), 3),
                "goodput_of_capacity_by_cpu": round((cpu_s + again_cpu_s) / 2 / each_cpu_s, 3),
                "statuses": dict(load.statuses),
                "p99_ms": round(load.percentile_ms(99), 1),
                "refused_p99_ms": round(load.percentile_ms(99, refused=True), 1),
                "without_retry_after": load.without_retry_after,
                "after_deadline": sum(s > DEADLINE_MS / 1000 + 0.05 for s in load.latencies),
                "slowest_health_ms": round(health_ms, 1),
                "grown_mb": round((server.resident_bytes() - before) / 1e6, 1),
            }
        )
        print(rows[-1], flush=True)
        capacity, cpu_s = again, again_cpu_s
    return rows


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 5) -> None:
    """Measure and print."""
    pin_to({1})
    measured = {}
    for precision in ("float32", "int8"):
        command, environment = ours(
            artifact=str(artifact),
            precision=precision,
            deadline_s=str(DEADLINE_MS / 1000),
            log_level="warning",
        )
        with serving(command, environment, cores={0}) as server:
            measured[precision] = measure(server, seconds)
    print(write_result(f"overload-{artifact.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
