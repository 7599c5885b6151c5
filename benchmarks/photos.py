"""A large network with photographs: how much of bare decode and session is left over HTTP.

`python -m benchmarks.photos ARTIFACT [SECONDS]`: JPEG files of 100 KB, 8 connections, server
and load on all cores; ours, the floor in FastAPI's thread pool, and LitServe with a worker a
core (in batches of up to 8, and one by one), beside threads that decode, preprocess and run
one image after the other without any server. Make the artifact with
`export-model --architecture resnet50 --random --precision all`.
"""

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.arguments import ArtifactFolder, Seconds
from benchmarks.client import prepare
from benchmarks.images import form, make_image
from benchmarks.peers.compare import LITSERVE, installed, interpreter
from benchmarks.process import Process, ours, serving, write_result
from benchmarks.rounds import Round, closed_round
from model.artifact.folder import read
from model.artifact.manifest import Precision
from model.cli import script
from model.preprocessing import preprocess
from service.cpus import usable_cores
from service.inference.engine import Engine
from service.preprocessing.decode import open_image, read_image

ROUNDS, CONNECTIONS = 5, 8


def bare(path: Path, precision: Precision, payload: bytes) -> Callable[[float], Round]:
    """Prepare a measurement of as many threads as cores, each with runs of one thread."""
    artifact = read(path)
    spec = artifact.manifest.preprocessing
    model = artifact.model(precision)
    engine = Engine(model, artifact.manifest, precision, "cpu", threads=1)

    def work(end: float, seconds: list[float]) -> None:
        while (began := time.perf_counter()) < end:
            pixels = preprocess(read_image(open_image(payload, 25_000_000), spec), spec)
            engine.run(pixels[None])
            seconds.append(time.perf_counter() - began)

    def measure(seconds: float) -> Round:
        took: list[float] = []
        began, before = time.perf_counter(), time.process_time()
        threads = [
            threading.Thread(target=work, args=(began + seconds, took))
            for _ in range(usable_cores())
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {
            "per_second": len(took) / (time.perf_counter() - began),
            "p50_ms": 1000 * median(took),
            "cpu_ms": 1000 * (time.process_time() - before) / len(took),
        }

    return measure


def served(server: Process, path: str, *body: Any) -> Callable[[float], Round]:
    """Prepare a measurement of a server that gets a body of a content type."""
    url = server.url(path)
    request = prepare(url, *body)

    return partial(closed_round, server, url, request, CONNECTIONS)


def alternate(sides: dict[str, Callable[[float], Round]], seconds: float) -> dict[str, Round]:
    """Measure one after the other, several times; medians, and of the ratios to bare."""
    rounds = [{name: run(seconds) for name, run in sides.items()} for _ in range(ROUNDS)]
    found = {}
    for name in sides:
        values = [each[name] for each in rounds]
        found[name] = {key: round(median(v[key] for v in values), 2) for key in values[0]}
        for key, sign in (("per_second", 1), ("cpu_ms", -1)):
            ratios = [(each[name][key] / each["bare"][key]) ** sign for each in rounds]
            found[name][f"of_bare_by_{key}"] = round(median(ratios), 3)
        print(f"  {name}: {found[name]}", flush=True)
    return found


def main(artifact: ArtifactFolder, seconds: Seconds = 4) -> None:
    """Measure and print."""
    payload, measured = make_image(500, "JPEG", 100_000), {}
    floor = [sys.executable, "-m", "benchmarks.peers.floor"]
    litserve = [interpreter(LITSERVE), "-m", LITSERVE.module]
    one_thread = {"RESNET_INTRA_OP_THREADS": "1", "PEER_WORKERS": str(usable_cores())}
    for precision in ("float32", "int8"):
        command, environment = ours(artifact=str(artifact), precision=precision)
        other = {**environment, **one_thread}
        print(precision)
        with (
            serving(command, environment) as us,
            serving(floor, other) as them,
            serving(litserve, {**other, "PEER_BATCH": "8"}, ready_path="/health") as batching,
            serving(litserve, {**other, "PEER_BATCH": "1"}, ready_path="/health") as one_by_one,
        ):
            sides = {
                "bare": bare(artifact, precision, payload),
                "ours": served(us, "/predict", payload, "image/jpeg"),
                "floor in its pool": served(them, "/pool", payload, "image/jpeg"),
                "litserve, batches": served(batching, "/predict", *form(payload)),
                "litserve, one by one": served(one_by_one, "/predict", *form(payload)),
            }
            measured[precision] = alternate(sides, seconds)
    print(write_result("photos", measured, {LITSERVE.name: installed(LITSERVE)}))


if __name__ == "__main__":
    script(main)()
