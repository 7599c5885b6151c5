"""One round of a closed loop against a server, as most comparisons here count it."""

from collections.abc import Iterable
from typing import NamedTuple

import uvloop

from benchmarks.client import Load, closed_loop, percentile
from benchmarks.process import Process

Round = dict[str, float]


class Observed(NamedTuple):
    """What the clients saw, and the processor seconds that the server spent meanwhile."""

    load: Load
    cpu_s: float

    def figures(self) -> Round:
        """Answers a second, two percentiles of their latency in ms, processor ms for each."""
        return {
            "per_second": self.load.per_second,
            "p50_ms": self.load.percentile_ms(50),
            "p99_ms": self.load.percentile_ms(99),
            "cpu_ms": 1000 * self.cpu_s / len(self.load.latencies),
        }


def observe(
    server: Process, url: str, request: bytes, connections: int, seconds: float
) -> Observed:
    """Ask for so long.

    Raises:
        RuntimeError: If a request was refused: a comparison of speed must not have any.
    """
    before = server.cpu_s()
    load = uvloop.run(closed_loop(url, request, connections, seconds))
    if load.refusals:
        raise RuntimeError(f"{url} refused: {load.statuses}")
    return Observed(load, server.cpu_s() - before)


def closed_round(
    server: Process, url: str, request: bytes, connections: int, seconds: float
) -> Round:
    """Ask for so long, and give the figures; see `observe`."""
    return observe(server, url, request, connections, seconds).figures()


def by_stage(loads: Iterable[Load]) -> dict[str, Round]:
    """Give two percentiles of each stage of Server-Timing, in ms, over all loads together."""
    joined: dict[str, list[float]] = {}
    for load in loads:
        for stage, milliseconds in load.stages.items():
            joined.setdefault(stage, []).extend(milliseconds)
    return {
        stage: {f"p{p}_ms": round(percentile(values, p), 3) for p in (50, 99)}
        for stage, values in joined.items()
    }
