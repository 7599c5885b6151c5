"""Two cores against one: which of WORKERS, INSTANCES and THREADS makes the most of them.

`python -m benchmarks.cores [ARTIFACT] [SECONDS]`: one worker on one core is the measure; then
each way to share two cores, with the load on the same two, since there are no more. What the
load takes is left out by processor time: `cores_of_requests` is how many requests two cores
would answer by what a request costs, as a multiple of what one core does.
"""

from pathlib import Path
from statistics import median

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import prepare
from benchmarks.images import make_image
from benchmarks.process import Process, ours, serving, write_result
from benchmarks.rounds import Round, closed_round
from model.artifact.folder import read
from model.cli import script

ROUNDS, CONNECTIONS = 5, 16
WAYS = {
    "one core": ({0}, {"workers": "1"}),
    "one process, two runs": (
        {0, 1},
        {"workers": "1", "concurrent_runs": "2", "intra_op_threads": "1"},
    ),
    "one process, two threads": (
        {0, 1},
        {"workers": "1", "concurrent_runs": "1", "intra_op_threads": "2"},
    ),
    "two processes": ({0, 1}, {"workers": "2"}),
}


def measure(server: Process, seconds: float) -> Round:
    """One round."""
    url = server.url("/predict")
    return closed_round(server, url, prepare(url, make_image(28)), CONNECTIONS, seconds)


def compare(artifact: Path, precision: str, seconds: float) -> dict[str, dict[str, float]]:
    """Measure each way in turns; medians."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, (cores, settings) in WAYS.items():
            command, environment = ours(artifact=str(artifact), precision=precision, **settings)
            with serving(command, environment, cores=cores) as server:
                measure(server, 0.3)
                rounds[name].append(measure(server, seconds))
    found = {
        name: {key: round(median(each[key] for each in own), 3) for key in own[0]}
        for name, own in rounds.items()
    }
    one_ms = found["one core"]["cpu_ms"]
    for name, (cores, _) in WAYS.items():
        ratio = len(cores) * one_ms / found[name]["cpu_ms"]
        found[name]["cores_of_requests"] = round(ratio, 2)
        print(precision, name, found[name], flush=True)
    return found


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 1) -> None:
    """Measure and print."""
    measured = {
        precision: compare(artifact, precision, seconds)
        for precision in ("float32", "int8")
        if precision in read(artifact).manifest.files
    }
    print(write_result(f"cores-{artifact.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
