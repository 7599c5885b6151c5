"""`predict-model` beside the bare session, and killed at random on very many files.

`python -m benchmarks.batch_predict ARTIFACT FOLDER`: all images of the folder through the command's
pipeline (read, decode, preprocess, run, write), and as many through the session alone, from
memory, with as many threads; in turns, in one process.

`python -m benchmarks.batch_predict ARTIFACT --files 200000`: writes so many small JPEGs, starts
the command, kills it with SIGKILL at random, starts it again until it ends, and checks that each
file has exactly one row. Prints the highest resident memory.
"""

import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer

from benchmarks.arguments import ArtifactFolder
from benchmarks.images import make_image
from benchmarks.process import write_result
from model.artifact.folder import read
from model.artifact.manifest import Precision
from model.cli import script
from model.preprocessing import Pixels
from service.cpus import usable_cores
from service.inference.engine import Engine
from service.offline.folder import ImageFolder
from service.offline.pipeline import batch_size, predict_files
from service.offline.predictor import Predictor
from service.offline.results import Results
from service.postprocessing.trust import DEFAULT

ROUNDS = 5
LONGEST_RUN_S = 12.0
PER_FOLDER = 1_000


def bare(engine: Engine, images: Pixels, count: int) -> float:
    """Run one batch so often that `count` images were run; return images a second."""
    batches = iter(range(-(-count // len(images))))

    def work() -> None:
        for _ in iter(partial(next, batches, None), None):
            engine.run(images)

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(usable_cores())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return -(-count // len(images)) * len(images) / (time.perf_counter() - began)


def whole(engine: Engine, folder: ImageFolder) -> float:
    """Predict the folder into a file; return images a second."""
    predictor = Predictor(engine.manifest, engine, DEFAULT, 25_000_000)
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        with Results(Path(scratch) / "results.csv", predictor.columns, {}) as results:
            predict_files(
                folder.files(),
                partial(predictor.rows, folder.root),
                results.append,
                threads=usable_cores(),
                batch=batch_size(predictor.image_size),
            )
            return len(results.done) / (time.perf_counter() - began)


def speed(path: Path, root: Path) -> dict[str, dict[str, float]]:
    """Compare both in each precision; medians over the rounds."""
    artifact, folder = read(path), ImageFolder(root)
    size, channels = artifact.manifest.input.size, artifact.manifest.input.channels
    shape = (batch_size(size), size, size, channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    count = sum(1 for _ in folder.files())
    found: dict[str, dict[str, float]] = {}
    precisions: tuple[Precision, ...] = tuple(artifact.manifest.files)
    for precision in precisions:
        engine = Engine(artifact.model(precision), artifact.manifest, precision, "cpu", threads=1)
        bare(engine, images, 2 * len(images))
        rounds = [(whole(engine, folder), bare(engine, images, count)) for _ in range(ROUNDS)]
        found[precision] = {
            "images": count,
            "predict_per_second": round(median(ours for ours, _ in rounds), 1),
            "session_per_second": round(median(alone for _, alone in rounds), 1),
            "ratio": round(median(ours / alone for ours, alone in rounds), 3),
        }
        print(precision, found[precision], flush=True)
    return found


def killed(path: Path, files: int) -> dict[str, float]:
    """Kill the command at random until it ends by itself; check its rows."""
    with tempfile.TemporaryDirectory() as scratch:
        root, out = Path(scratch) / "images", Path(scratch) / "results.csv"
        for number in range(files):
            if number % PER_FOLDER == 0:
                folder = root / str(number // PER_FOLDER)
                folder.mkdir(parents=True)
                payload = make_image(65 + number // PER_FOLDER % 32, "JPEG")
            (folder / f"{number}.jpg").write_bytes(payload)
        began, kills, peak_kib = time.perf_counter(), 0, 0
        while True:
            code, used_kib = _start(path, root, out)
            peak_kib = max(peak_kib, used_kib)
            if code != -signal.SIGKILL:
                break
            kills += 1
        seconds = time.perf_counter() - began
        with out.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        counts = Counter(row[0] for row in rows[1:])
        expected = {f"{number // PER_FOLDER}/{number}.jpg" for number in range(files)}
        if code or counts.keys() != expected or set(counts.values()) != {1}:
            raise SystemExit(f"wrong: exit code {code}, {len(counts)} files of {files}")
        if any(len(row) != len(rows[0]) or row[-1] for row in rows[1:]):
            raise SystemExit("wrong: a row is torn, or has an error")
        return {
            "files": files,
            "kills": kills,
            "seconds": round(seconds, 1),
            "peak_mb": round(peak_kib / 1024, 1),
        }


def _start(path: Path, root: Path, out: Path) -> tuple[int, int]:
    """Start the command and kill it at random; return exit code and peak memory in KiB."""
    code = "from service.offline.cli import predict; predict()"
    arguments = [sys.executable, "-c", code, str(path), str(root), "--out", str(out)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    timer = threading.Timer(random.uniform(0.5, LONGEST_RUN_S), process.kill)  # noqa: S311
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss


def main(
    artifact: ArtifactFolder,
    folder: Annotated[Path | None, typer.Argument(help="Of images, to measure speed.")] = None,
    files: Annotated[int, typer.Option(help="So many images, killed at random.")] = 0,
) -> None:
    """Measure, print, and keep the figures."""
    name = read(artifact).manifest.architecture.name
    if folder is not None:
        print(write_result(f"batch-predict-{name}", speed(artifact, folder)))
    if files:
        found = killed(artifact, files)
        print(write_result("batch-predict-killed", found), found)


if __name__ == "__main__":
    script(main)()
