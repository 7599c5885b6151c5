"""What a request costs on Ray Serve, beside `serve-model`, asked in turns.

`.venv-ray/bin/python -m benchmarks.ray_serve [ARTIFACT] [SECONDS]`: for each way to run Ray, one
replica of it and one plain server with one thread, both up; a closed loop of
some connections asks them in turns. Nothing is pinned to cores: Ray is a dozen of processes. The
processor time is that of all of them, so that what Ray does without requests counts, too.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import prepare
from benchmarks.images import make_image
from benchmarks.process import ours, serving, write_result
from benchmarks.rounds import Round, closed_round
from model.artifact.folder import read
from model.cli import script

ROUNDS = 5
CONNECTIONS = (1, 16)
PORT = "RAY_BENCHMARK_PORT"
THROUGHPUT = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
WAYS: Mapping[str, Mapping[str, str]] = {
    "as it comes": {},
    "for throughput": THROUGHPUT,
    "for throughput, HAProxy": THROUGHPUT | {"RAY_SERVE_ENABLE_HA_PROXY": "1"},
}
"""Variables of all of Ray's processes."""
HOST = """
import os, sys, time, ray
from ray import serve
from ray.serve.config import HTTPOptions
from deploy.ray.app import build
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20)
port = int(os.environ["RAY_BENCHMARK_PORT"])
serve.start(
    http_options=HTTPOptions(host="127.0.0.1", port=port),
    logging_config={"enable_access_log": False},
)
serve.run(build({"artifact": sys.argv[1], "access_log": "false"}), name="resnet")
time.sleep(3600)
"""


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 3.0) -> None:
    """Measure, print, and keep the result."""
    file = make_image(read(artifact).manifest.input.size)
    plain, settings = ours(
        artifact=str(artifact), access_log="false", intra_op_threads="1", concurrent_runs="1"
    )
    measured: dict[str, object] = {}
    for way, variables in WAYS.items():
        environment = {"PYTHONPATH": str(Path.cwd()), **variables}
        command = [sys.executable, "-c", HOST, str(artifact.resolve())]
        with (
            serving(plain, settings) as server,
            serving(command, environment, port_variable=PORT) as on_ray,
        ):
            for connections in CONNECTIONS:
                rounds: dict[str, list[Round]] = {"plain": [], "ray": []}
                for _ in range(ROUNDS):
                    for name, each in (("plain", server), ("ray", on_ray)):
                        url = each.url("/predict")
                        found = closed_round(each, url, prepare(url, file), connections, seconds)
                        rounds[name].append(found)
                measured[f"{way}, {connections}"] = row = summary(rounds)
                print(f"{way:24} {connections:3} connections: {row}", flush=True)
    print(write_result("ray-serve", measured))


def summary(rounds: Mapping[str, list[Round]]) -> dict[str, float]:
    """Give the median of each figure, and of Ray's over the plain server's within a round."""
    names = ("per_second", "p50_ms", "p99_ms", "cpu_ms")
    found = {
        f"{kind}_{name}": median(each[name] for each in those)
        for kind, those in rounds.items()
        for name in names
    }
    for name in names:
        pairs = zip(rounds["ray"], rounds["plain"], strict=True)
        found[f"ratio_{name}"] = median(ray[name] / plain[name] for ray, plain in pairs)
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    script(main)()
