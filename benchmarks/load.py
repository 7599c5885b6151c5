"""Ours against the floor: same model, same precision, same image, alternating, in one run.

`python -m benchmarks.load [ARTIFACT] [SECONDS]`: the server on one core, the load on
another; 16 connections with raw bodies and with forms, and one connection; requests a
second, latency overall and by stage, server CPU a request.
"""

import sys
from statistics import median
from typing import Any, NamedTuple

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import prepare
from benchmarks.images import form, make_image
from benchmarks.process import Process, ours, pin_to, serving, write_result
from benchmarks.rounds import Observed, by_stage, observe
from model.artifact.folder import read
from model.cli import script

ROUNDS = 5


class Case(NamedTuple):
    """A kind of traffic, and where each side takes it."""

    name: str
    connections: int
    body: bytes
    content_type: str
    floor_path: str = "/predict"


def cases(payload: bytes) -> list[Case]:
    """All kinds of traffic for one image file."""
    return [
        Case("raw, 16 connections", 16, payload, "image/png"),
        Case("form, 16 connections", 16, *form(payload), "/form"),
        Case("raw, 1 connection", 1, payload, "image/png"),
    ]


def measure(server: Process, path: str, case: Case, seconds: float) -> Observed:
    """One round: what the clients saw, and what the operating system counted."""
    url = server.url(path)
    request = prepare(url, case.body, case.content_type)
    return observe(server, url, request, case.connections, seconds)


def compare(us: Process, them: Process, case: Case, seconds: float) -> dict[str, Any]:
    """Alternate; medians of each side and of the rounds' ratios, and where our time went."""
    rounds = [
        (measure(us, "/predict", case, seconds), measure(them, case.floor_path, case, seconds))
        for _ in range(ROUNDS)
    ]
    figures = [(our.figures(), their.figures()) for our, their in rounds]
    found: dict[str, Any] = {}
    for name in figures[0][0]:
        our, their = ([pair[side][name] for pair in figures] for side in (0, 1))
        ratios = [a / b for a, b in zip(our, their, strict=True)]
        found[name] = {
            "ours": round(median(our), 3),
            "floor": round(median(their), 3),
            "ratio": round(median(ratios), 3),
        }
    return {**found, "our_stages": by_stage(our.load for our, _ in rounds)}


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 2) -> None:
    """Measure and print."""
    pin_to({1})
    floor = [sys.executable, "-m", "benchmarks.peers.floor"]
    measured = {}
    for precision in {"float32", "int8"} & read(artifact).manifest.files.keys():
        command, environment = ours(artifact=str(artifact), precision=precision)
        with (
            serving(command, environment, cores={0}) as us,
            serving(floor, environment, cores={0}) as them,
        ):
            for case in cases(make_image(28)):
                found = compare(us, them, case, seconds)
                measured[f"{precision}, {case.name}"] = found
                print(f"{precision}, {case.name}", *found.items(), sep="\n  ", flush=True)
    print(write_result(f"load-{artifact.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
