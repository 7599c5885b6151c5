"""Twice and four times what the service can do: what is answered, and how the rest is refused.

`python -m benchmarks.overload [ARTIFACT] [SECONDS]`: the server on one core, the load on
another. Capacity is what a closed loop of 64 connections reaches, before and after; then
requests leave at a constant rate of twice and four times that.
"""

import asyncio
import sys
from pathlib import Path

from benchmarks.client import closed_loop, open_loop, prepare
from benchmarks.pictures import picture
from benchmarks.process import ours, pin_to, serving, write_result

DEADLINE_MS = 1_000


def main(artifact: str = "artifacts/fashion-mnist/1", seconds: str = "5") -> None:
    """Measure and print."""
    pin_to({1})
    length, rows = float(seconds), []
    command, environment = ours(
        artifact=artifact, max_queue="256", deadline_ms=str(DEADLINE_MS), log_level="warning"
    )
    with serving(command, environment, cores={0}) as server:
        url = server.url("/predict")
        request = prepare(url, picture(28))
        capacity = asyncio.run(closed_loop(url, request, 64, length)).per_second
        before = server.resident_bytes()
        for factor in (2, 4):
            load = asyncio.run(open_loop(url, request, factor * capacity, length))
            again = asyncio.run(closed_loop(url, request, 64, length)).per_second
            rows.append(
                {
                    "factor": factor,
                    "goodput_of_capacity": round(2 * load.per_second / (capacity + again), 3),
                    "statuses": dict(load.statuses),
                    "p99_ms": round(load.percentile_ms(99), 1),
                    "refused_p99_ms": round(load.percentile_ms(99, refused=True), 1),
                    "without_retry_after": load.without_retry_after,
                    "after_deadline": sum(s > DEADLINE_MS / 1000 + 0.05 for s in load.latencies),
                    "grown_mb": round((server.resident_bytes() - before) / 1e6, 1),
                }
            )
            print(rows[-1])
            capacity = again
    print(write_result(f"overload-{Path(artifact).parent.name}", rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
