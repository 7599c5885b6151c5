"""One round of a closed loop against a server, as most comparisons here count it."""

import uvloop

from benchmarks.client import closed_loop
from benchmarks.process import Process

Round = dict[str, float]


def closed_round(
    server: Process, url: str, request: bytes, connections: int, seconds: float
) -> Round:
    """Ask for so long: what the clients saw, and what the operating system counted.

    Returns:
        Answers a second, two percentiles of their latency in ms, and the processor ms that
        the server spent on each.

    Raises:
        RuntimeError: If a request was refused: a comparison of speed has no place for it.
    """
    before = server.cpu_s()
    load = uvloop.run(closed_loop(url, request, connections, seconds))
    if load.refusals:
        raise RuntimeError(f"{url} refused: {load.statuses}")
    return {
        "per_second": load.per_second,
        "p50_ms": load.percentile_ms(50),
        "p99_ms": load.percentile_ms(99),
        "cpu_ms": 1000 * (server.cpu_s() - before) / len(load.latencies),
    }
