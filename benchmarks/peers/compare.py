"""Ours beside other servers: the same model, the same requests, alternating in one run.

`python -m benchmarks.peers.compare [ARTIFACT] [SECONDS]`: LitServe with forms, Triton's
Python backend with the V2 protocol's binary tensors. Each gets an environment of its own,
`.venv-litserve` and `.venv-triton`, made at the first call. Servers on one core, load on
another, 16 connections. A peer that does not start here is named and left out.
"""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import prepare
from benchmarks.images import form, make_image
from benchmarks.process import Process, ours, pin_to, serving, write_result
from benchmarks.rounds import closed_round
from model.cli import script

ROUNDS = 5


class Peer(NamedTuple):
    """Another server, and the traffic that it and ours get."""

    name: str
    packages: tuple[str, ...]
    maker: str  # of its environment: an interpreter
    program: str
    ready_path: str
    path: str
    request: Callable[[str], bytes]


def _form(url: str) -> bytes:
    return prepare(url, *form(make_image(28)))


def _tensor(url: str) -> bytes:
    """One image file as a BYTES tensor of the V2 protocol, and binary numbers back."""
    payload = make_image(28)
    element = struct.pack("<I", len(payload)) + payload
    about = {
        "inputs": [
            {
                "name": "images",
                "shape": [1, 1],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": len(element)},
            }
        ],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(about).encode()
    length = f"Inference-Header-Content-Length: {len(head)}\r\n"
    return prepare(url, head + element, "application/octet-stream", length)


LITSERVE = Peer(
    "litserve",
    ("litserve", "onnxruntime", "pillow", "numpy", "python-multipart"),
    sys.executable,
    "benchmarks/peers/litserve_app.py",
    "/health",
    "/predict",
    _form,
)
PEERS = (
    LITSERVE,
    Peer(
        "triton",
        ("nvidia-pytriton", "onnxruntime", "pillow"),
        "/usr/bin/python3",
        "benchmarks/peers/triton_app.py",
        "/v2/models/fashion-mnist-image/ready",
        "/v2/models/fashion-mnist-image/infer",
        _tensor,
    ),
)


def interpreter(peer: Peer) -> str:
    """Give the interpreter of a peer's environment; make it if it is not there."""
    folder = Path(f".venv-{peer.name}")
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([peer.maker, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *peer.packages], check=True)
    return str(python)


def installed(peer: Peer) -> dict[str, str]:
    """Give the versions of a peer's Python and packages."""
    packages = (*peer.packages, "numpy", "tritonclient")
    command = [interpreter(peer), "benchmarks/installed.py", *packages]
    found: dict[str, str] = json.loads(subprocess.check_output(command))
    return found


def per_second(server: Process, peer: Peer, seconds: float) -> float:
    """Answers with status 200 a second."""
    url = server.url(peer.path)
    return closed_round(server, url, peer.request(url), 16, seconds)["per_second"]


def measure(peer: Peer, artifact: str, precision: str, seconds: float) -> dict[str, float]:
    """Alternate ours and the peer; medians of both, and of the ratios."""
    command, environment = ours(artifact=artifact, precision=precision)
    other = [interpreter(peer), peer.program]
    with (
        serving(command, environment, cores={0}) as us,
        serving(other, environment, cores={0}, ready_path=peer.ready_path) as them,
    ):
        per_second(them, peer, 1)  # whatever it loads with its first requests
        rounds = [
            (per_second(us, peer, seconds), per_second(them, peer, seconds)) for _ in range(ROUNDS)
        ]
    return {
        "ours": round(median(our for our, _ in rounds), 1),
        peer.name: round(median(their for _, their in rounds), 1),
        "ratio": round(median(our / their for our, their in rounds), 3),
    }


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 2) -> None:
    """Measure and print."""
    pin_to({1})
    path, measured, versions = str(artifact.absolute()), {}, {}
    for peer in PEERS:
        for precision in ("float32", "int8"):
            name = f"{peer.name}, {precision}"
            try:
                measured[name] = measure(peer, path, precision, seconds)
                versions[peer.name] = installed(peer)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                print(f"{name} did not start here: {error}")
                continue
            print(name, measured[name], flush=True)
    print(write_result(f"peers-{artifact.parent.name}", measured, versions))


if __name__ == "__main__":
    script(main)()
