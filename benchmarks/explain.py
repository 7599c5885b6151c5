"""What explanations cost: for requests with and without them.

`python -m benchmarks.explain [ARTIFACT] [SECONDS]`: the shipped graph beside the same without
the outputs that only explanations need, session alone, in pairs; and over HTTP, the server on
one core and the load on another: plain requests to both, and explained ones.
"""

import asyncio
import hashlib
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from onnx.utils import Extractor

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import closed_loop, prepare
from benchmarks.images import make_image
from benchmarks.process import Process, ours, pin_to, serving, write_result
from model.artifact.folder import Artifact, read
from model.artifact.manifest import Precision
from model.artifact.writing import write
from model.cli import script
from training.evaluation.predict import onnx_session

ROUNDS, PAIRS = 9, 400
KEPT = ("logits", "probabilities", "score")
BARE, PLAIN, MAP, LAYER = "plain, graph without maps", "plain", "explain=true", "explain=png"


def without_maps(model: bytes) -> bytes:
    """Cut every node off that nothing but `maps` and `features` needs."""
    loaded = onnx.load_from_string(model)
    kept = [output.name for output in loaded.graph.output if output.name in KEPT]
    cut: Any = Extractor(loaded).extract_model(["images"], kept)
    return bytes(cut.SerializeToString())


def strip(artifact: Artifact, out: Path) -> Path:
    """Write the artifact with graphs that cannot explain."""
    manifest = artifact.manifest
    models = {name: without_maps(artifact.model(name)) for name in manifest.files}
    files = {
        name: file.model_copy(
            update={
                "sha256": hashlib.sha256(models[name]).hexdigest(),
                "bytes": len(models[name]),
            }
        )
        for name, file in manifest.files.items()
    }
    return write(out, manifest.model_copy(update={"files": files}), models).folder


def session_alone(artifact: Artifact, precision: Precision, batch: int) -> float:
    """Time of the shipped graph over that of the one without maps: median of pairs."""
    model = artifact.model(precision)
    sessions = [onnx_session(graph, threads=1) for graph in (model, without_maps(model))]
    wanted = [output.name for output in sessions[1].get_outputs()]
    images = np.repeat(artifact.golden_images()[:1], batch, axis=0)
    ratios = []
    for pair in range(PAIRS + 20):
        taken = [0.0, 0.0]
        for which in (0, 1) if pair % 2 else (1, 0):
            began = time.perf_counter()
            sessions[which].run(wanted, {"images": images})
            taken[which] = time.perf_counter() - began
        if pair >= 20:  # the first ones warm up
            ratios.append(taken[0] / taken[1])
    return median(ratios)


def over_http(bare: Process, shipped: Process, side: int, seconds: float) -> dict[str, float]:
    """Milliseconds of the server's processor for a request of each kind: medians of rounds."""
    kinds = {
        BARE: bare.url("/predict"),
        PLAIN: shipped.url("/predict"),
        MAP: shipped.url("/predict?explain=true"),
        LAYER: shipped.url("/predict?explain=png"),
    }
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(ROUNDS):
        order = list(kinds.items())
        for kind, url in order if number % 2 else reversed(order):
            server = bare if kind == BARE else shipped
            before = server.cpu_s()
            load = asyncio.run(closed_loop(url, prepare(url, make_image(side)), 1, seconds))
            spent[kind].append(1000 * (server.cpu_s() - before) / len(load.latencies))
    against = {
        kind: [a / b for a, b in zip(spent[kind], spent[PLAIN], strict=True)] for kind in spent
    }
    return {
        **{f"{kind}, ms": round(median(values), 4) for kind, values in spent.items()},
        **{f"{kind} / {PLAIN}": round(median(values), 4) for kind, values in against.items()},
    }


def main(path: ArtifactFolder = SHIPPED, seconds: Seconds = 2) -> None:
    """Measure and print."""
    artifact = read(path)
    measured: dict[str, object] = {}
    pin_to({1})
    with tempfile.TemporaryDirectory() as folder:
        stripped = strip(
            artifact, Path(folder) / artifact.manifest.name / artifact.manifest.version
        )
        for precision in artifact.manifest.files:
            for batch in (1, 32):
                name = f"session, {precision}, batch {batch}: with maps / without"
                measured[name] = round(session_alone(artifact, precision, batch), 4)
                print(f"{name}: {measured[name]}")
            bare = ours(artifact=str(stripped), precision=precision)
            whole = ours(artifact=str(path), precision=precision)
            with serving(*bare, cores={0}) as cannot, serving(*whole, cores={0}) as can:
                name = f"HTTP, {precision}"
                measured[name] = over_http(cannot, can, artifact.manifest.input.size, seconds)
                print(name, measured[name])
    print(write_result(f"explain-{path.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
