"""Ours beside LitServe: the same model, the same form with one picture, alternating.

`python -m benchmarks.peers.compare [ARTIFACT] [SECONDS]`: LitServe gets an environment of
its own, `.venv-litserve`, made at the first call. Servers on one core, load on another.
"""

import asyncio
import subprocess
import sys
import venv
from pathlib import Path
from statistics import median

from benchmarks.client import closed_loop, prepare
from benchmarks.pictures import form, picture
from benchmarks.process import ours, pin_to, serving, write_result

ROUNDS = 5
PEER = Path(".venv-litserve")
PACKAGES = ("litserve", "onnxruntime", "pillow", "numpy")


def peer_python() -> str:
    """Give the interpreter of LitServe's environment; make it if it is not there."""
    python = PEER / "bin" / "python"
    if not python.exists():
        venv.create(PEER, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return str(python)


def main(artifact: str = "artifacts/fashion-mnist/1", seconds: str = "3") -> None:
    """Measure and print."""
    pin_to({1})
    command, environment = ours(artifact=str(Path(artifact).absolute()))
    peer = [peer_python(), "benchmarks/peers/litserve_app.py"]
    body, content_type = form(picture(28))
    rates: dict[str, list[float]] = {"ours": [], "litserve": []}
    with (
        serving(command, environment, cores={0}) as us,
        serving(peer, environment, cores={0}, ready_path="/health") as them,
    ):
        for _ in range(ROUNDS):
            for name, server in (("ours", us), ("litserve", them)):
                url = server.url("/predict")
                load = asyncio.run(
                    closed_loop(url, prepare(url, body, content_type), 16, float(seconds))
                )
                rates[name].append(load.per_second)
    ratios = [a / b for a, b in zip(rates["ours"], rates["litserve"], strict=True)]
    measured = {
        **{name: round(median(values), 1) for name, values in rates.items()},
        "ratio": round(median(ratios), 3),
    }
    print(measured, write_result(f"peers-{Path(artifact).parent.name}", measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
