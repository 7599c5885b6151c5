"""How soon the service is ready, and how much memory it holds.

`python -m benchmarks.startup [ARTIFACT]`: five starts of the whole process; then 200
requests; resident memory of all its processes.
"""

import asyncio
from statistics import median

from benchmarks.arguments import SHIPPED, ArtifactFolder
from benchmarks.client import closed_loop, prepare
from benchmarks.images import make_image
from benchmarks.process import ours, serving, write_result
from model.cli import script


def main(artifact: ArtifactFolder = SHIPPED) -> None:
    """Measure and print."""
    command, environment = ours(artifact=str(artifact))
    ready, resident = [], []
    for _ in range(5):
        with serving(command, environment) as server:
            url = server.url("/predict")
            asyncio.run(closed_loop(url, prepare(url, make_image(28)), 4, 0.5))
            ready.append(server.ready_s)
            resident.append(server.resident_bytes() / 1e6)
    measured = {
        "artifact": str(artifact),
        "ready_s": round(median(ready), 2),
        "resident_mb": round(median(resident), 1),
    }
    print(measured, write_result(f"startup-{artifact.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
