"""Ours against the floor: same model, same picture, alternating, in one run.

`python -m benchmarks.load [ARTIFACT] [SECONDS]`: the server on one core, the load on
another; 16 connections and one; requests a second, latency, server CPU a request.
"""

import asyncio
import sys
from pathlib import Path
from statistics import median

from benchmarks.client import Load, closed_loop, prepare
from benchmarks.pictures import picture
from benchmarks.process import Process, ours, pin_to, serving, write_result

ROUNDS = 5


def measure(server: Process, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """One round: what the clients saw, and what the operating system counted."""
    url = server.url("/predict")
    before = server.cpu_s()
    load: Load = asyncio.run(closed_loop(url, prepare(url, body), connections, seconds))
    cpu_ms = 1000 * (server.cpu_s() - before) / max(1, len(load.latencies))
    return {
        "per_second": load.per_second,
        "p50_ms": load.percentile_ms(50),
        "p99_ms": load.percentile_ms(99),
        "cpu_ms": cpu_ms,
    }


def main(artifact: str = "artifacts/fashion-mnist/1", seconds: str = "2") -> None:
    """Measure and print."""
    pin_to({1})
    command, environment = ours(artifact=artifact)
    floor = [sys.executable, "-m", "benchmarks.peers.floor"]
    body, measured = picture(28), {}
    with (
        serving(command, environment, cores={0}) as us,
        serving(floor, environment, cores={0}) as them,
    ):
        for connections in (16, 1):
            rounds = [
                (
                    measure(us, body, connections, float(seconds)),
                    measure(them, body, connections, float(seconds)),
                )
                for _ in range(ROUNDS)
            ]
            for name in rounds[0][0]:
                our, their = ([pair[side][name] for pair in rounds] for side in (0, 1))
                ratios = [a / b for a, b in zip(our, their, strict=True)]
                measured[f"{name} at {connections}"] = {
                    "ours": round(median(our), 3),
                    "floor": round(median(their), 3),
                    "ratio": round(median(ratios), 3),
                }
                print(
                    f"{name:10} {connections:2} connections:", measured[f"{name} at {connections}"]
                )
    print(write_result(f"load-{Path(artifact).parent.name}", measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
