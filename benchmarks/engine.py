"""The ceiling: the bare session, by threads, runs side by side and batch size.

`python -m benchmarks.engine [ARTIFACT]`: images a second; each cell is the best of
several short runs, since other work on the machine only ever slows one down.
"""

import threading
import time

import numpy as np

from benchmarks.arguments import SHIPPED, ArtifactFolder
from benchmarks.process import write_result
from model.artifact.folder import read
from model.cli import script
from model.preprocessing import Pixels
from service.cpus import usable_cores
from service.inference.engine import Engine

RUNS, RUN_S = 5, 0.4


def per_second(engine: Engine, batch: Pixels, instances: int) -> float:
    """Images a second with so many runs side by side."""

    def work(end: float, done: list[int]) -> None:
        while time.perf_counter() < end:
            engine.run(batch)
            done.append(len(batch))

    best = 0.0
    for _ in range(RUNS):
        done: list[int] = []
        began = time.perf_counter()
        threads = [
            threading.Thread(target=work, args=(began + RUN_S, done)) for _ in range(instances)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, sum(done) / (time.perf_counter() - began))
    return best


def main(path: ArtifactFolder = SHIPPED) -> None:
    """Measure and print a table."""
    artifact = read(path)
    example = artifact.golden_images()[:1]
    cores, rows = usable_cores(), []
    for precision in artifact.manifest.files:
        for instances, threads in sorted({(1, 1), (1, cores), (cores, 1)}):
            engine = Engine(
                artifact.model(precision), artifact.manifest, precision, "cpu", threads=threads
            )
            cells = {}
            for size in (1, 4, 16, 32):
                batch = np.repeat(example, size, axis=0)
                engine.run(batch)
                cells[size] = round(per_second(engine, batch, instances), 1)
            rows.append(
                {
                    "precision": precision,
                    "instances": instances,
                    "threads": threads,
                    "pictures_per_s_by_batch_size": cells,
                }
            )
            print(rows[-1])
    print(write_result(f"engine-{path.parent.name}", {"artifact": str(path), "rows": rows}))


if __name__ == "__main__":
    script(main)()
