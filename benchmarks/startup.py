"""How soon the service is ready, and how much memory it holds, beside a plain FastAPI handler.

`python -m benchmarks.startup [ARTIFACT] [--precision int8]`: six starts of each in turn, of which
the first writes bytecode and does not count; some requests; resident memory of all processes. The
handler (`benchmarks.peers.floor`) imports the same main libraries and loads the same model: what it
takes is theirs, the difference is ours. `steps` says what each library's import
adds, in the order in which the service needs them.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.arguments import SHIPPED, ArtifactFolder
from benchmarks.client import closed_loop, prepare
from benchmarks.images import make_image
from benchmarks.process import ours, serving, write_result
from model.cli import script

ROUNDS = 5
KEEP_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}  # empty is unset
IMPORTS = (
    "numpy",
    "onnxruntime",
    "pydantic",
    "fastapi",
    "uvicorn",
    "typer",
    "pydantic_settings",
    "prometheus_client",
    "PIL.Image",
    "service.cli",
    "service.run",
)
IMPORT = """
import gc, importlib, json, sys, time
gc.disable()
def taken():
    pages = int(open("/proc/self/statm").read().split()[1])
    return time.process_time(), pages * 4096 / 1e6
steps = [("python", *taken())]
for name in sys.argv[1:]:
    importlib.import_module(name)
    steps.append((name, *taken()))
print(json.dumps(steps))
"""


def start(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, float]:
    """Start a server once, and ask it for half a second."""
    with serving(command, {**environment, **KEEP_BYTECODE}) as server:
        cpu_s = server.cpu_s()
        url = server.url("/predict")
        asyncio.run(closed_loop(url, prepare(url, make_image(28)), 4, 0.5))
        resident_mb = server.resident_bytes() / 1e6
        return {"ready_s": server.ready_s, "cpu_s": cpu_s, "resident_mb": resident_mb}


def import_steps() -> dict[str, dict[str, float]]:
    """Import libraries one by one; the processor time and memory that each adds."""
    command = [sys.executable, "-c", IMPORT, *IMPORTS]
    environment = {**os.environ, **KEEP_BYTECODE}
    runs = [
        json.loads(subprocess.check_output(command, env=environment)) for _ in range(ROUNDS + 1)
    ]
    added: dict[str, dict[str, float]] = {}
    for place, (name, _, _) in enumerate(runs[0]):
        cpu_s, megabytes = (
            median(run[place][which] - (run[place - 1][which] if place else 0) for run in runs[1:])
            for which in (1, 2)
        )
        added[name] = {"cpu_s": round(cpu_s, 3), "mb": round(megabytes, 1)}
    return added


def main(artifact: ArtifactFolder = SHIPPED, precision: str = "int8") -> None:
    """Measure and print."""
    command, environment = ours(artifact=str(artifact), precision=precision)
    handler = [sys.executable, "-m", "benchmarks.peers.floor"]
    rounds = [
        (start(command, environment), start(handler, environment)) for _ in range(ROUNDS + 1)
    ][1:]
    measured: dict[str, object] = {"artifact": str(artifact), "precision": precision}
    for name, place in (("ours", 0), ("handler", 1)):
        figures = [each[place] for each in rounds]
        measured[name] = {
            what: round(median(each[what] for each in figures), 2) for what in figures[0]
        }
    measured["steps"] = import_steps()
    print(json.dumps(measured, indent=1), write_result(f"startup-{artifact.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
