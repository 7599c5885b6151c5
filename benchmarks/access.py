"""What keys and limits cost: one server without them and one with both, in turns, in one run.

`python -m benchmarks.access [ARTIFACT] [SECONDS]`: int8, raw bodies on 16 connections and on
one; the server on one core, the load on another. The limits are far above the load, so that
each request is counted and none is refused.
"""

import tempfile
from statistics import median
from typing import Any

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import prepare
from benchmarks.images import make_image
from benchmarks.process import Process, ours, pin_to, serving, write_result
from benchmarks.rounds import Round, closed_round
from model.cli import script

ROUNDS = 9
KEY = "c9b1e2d4a6f8037b"
LIMITS = {
    "client_requests_s": "1000000",
    "client_images_s": "1000000",
    "client_max_in_flight": "64",
}


def measure(server: Process, connections: int, seconds: float, headers: str = "") -> Round:
    """One round; see `closed_round`."""
    url = server.url("/predict")
    request = prepare(url, make_image(28), "image/png", headers)
    return closed_round(server, url, request, connections, seconds)


def compare(plain: Process, guarded: Process, connections: int, seconds: float) -> dict[str, Any]:
    """Alternate, each first in half of the rounds; the medians and that of the rounds' ratios."""
    rounds: list[tuple[Round, Round]] = []
    for number in range(ROUNDS):
        first = measure(plain, connections, seconds) if number % 2 else None
        theirs = measure(guarded, connections, seconds, f"Authorization: Bearer {KEY}\r\n")
        rounds.append((first or measure(plain, connections, seconds), theirs))
    return {
        name: {
            "plain": round(median(before[name] for before, _ in rounds), 4),
            "keys_and_limits": round(median(after[name] for _, after in rounds), 4),
            "ratio": round(median(after[name] / before[name] for before, after in rounds), 4),
        }
        for name in rounds[0][0]
    }


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 2) -> None:
    """Measure and print."""
    pin_to({1})
    measured = {}
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write(f"client: {KEY}\n")
        keys.flush()
        given = {"artifact": str(artifact), "precision": "int8"}
        command, environment = ours(**given)
        _, with_both = ours(**given, api_keys_file=keys.name, **LIMITS)
        with (
            serving(command, environment, cores={0}) as plain,
            serving(command, with_both, cores={0}) as guarded,
        ):
            for connections in (16, 1):
                name = f"{connections} connections" if connections > 1 else "1 connection"
                measured[name] = compare(plain, guarded, connections, seconds)
                print(name, *measured[name].items(), sep="\n  ", flush=True)
    print(write_result(f"access-{artifact.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
