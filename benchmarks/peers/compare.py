"""Ours beside other servers: the same model, the same requests, alternating in one run.

`python -m benchmarks.peers.compare [ARTIFACT] [SECONDS] [--peer NAME]`: mosec and Ray Serve with
raw bodies, LitServe and BentoML with forms, Triton's Python backend with the V2 protocol's binary
tensors. Each gets an environment of its own, such as `.venv-mosec`, made at the first call. Servers
on one core, load on another, 16 connections. A peer that does not start here is named and left out.
"""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import typer

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import prepare
from benchmarks.images import form, make_image
from benchmarks.process import Process, ours, pin_to, serving, write_result
from benchmarks.rounds import Round, closed_round
from model.cli import script

ROUNDS = 5
Only = typer.Option("--peer", help="Measure beside this one alone.")


class Peer(NamedTuple):
    """Another server, and the traffic that it and ours get."""

    name: str
    packages: tuple[str, ...]
    maker: str  # of its environment: an interpreter
    module: str
    ready_path: str
    path: str
    request: Callable[[str], bytes]


def _raw(url: str) -> bytes:
    return prepare(url, make_image(28))


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


MOSEC = Peer(
    "mosec",
    ("mosec", "onnxruntime", "pillow", "numpy"),
    sys.executable,
    "benchmarks.peers.mosec_app",
    "/",
    "/predict",
    _raw,
)
LITSERVE = Peer(
    "litserve",
    ("litserve", "onnxruntime", "pillow", "numpy", "python-multipart"),
    sys.executable,
    "benchmarks.peers.litserve_app",
    "/health",
    "/predict",
    _form,
)
PEERS = (
    MOSEC,
    LITSERVE,
    Peer(
        "triton",
        ("nvidia-pytriton", "onnxruntime", "pillow"),
        "/usr/bin/python3",
        "benchmarks.peers.triton_app",
        "/v2/models/fashion-mnist-image/ready",
        "/v2/models/fashion-mnist-image/infer",
        _tensor,
    ),
    Peer(
        "bentoml",
        ("bentoml", "onnxruntime", "pillow", "numpy"),
        sys.executable,
        "benchmarks.peers.bentoml_app",
        "/readyz",
        "/predict",
        _form,
    ),
    Peer(
        "rayserve",
        ("ray[serve]", "onnxruntime", "pillow", "numpy"),
        sys.executable,
        "benchmarks.peers.ray_app",
        "/predict",
        "/predict",
        _raw,
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
    names = (package.partition("[")[0] for package in peer.packages)
    packages = (*names, "numpy", "tritonclient")
    command = [interpreter(peer), "benchmarks/installed.py", *packages]
    found: dict[str, str] = json.loads(subprocess.check_output(command))
    return found


def ask(server: Process, peer: Peer, seconds: float) -> Round:
    """One round: answers a second, latency, processor time of each."""
    url = server.url(peer.path)
    return closed_round(server, url, peer.request(url), 16, seconds)


def measure(peer: Peer, artifact: str, precision: str, seconds: float) -> dict[str, Round]:
    """Alternate ours and the peer; medians of both, and of the ratios."""
    command, environment = ours(artifact=artifact, precision=precision)
    other = [interpreter(peer), "-m", peer.module]
    with (
        serving(command, environment, cores={0}) as us,
        serving(other, environment, cores={0}, ready_path=peer.ready_path) as them,
    ):
        ask(them, peer, 1)  # whatever it loads with its first requests
        rounds = [(ask(us, peer, seconds), ask(them, peer, seconds)) for _ in range(ROUNDS)]
    return {
        name: {
            "ours": round(median(our[name] for our, _ in rounds), 3),
            peer.name: round(median(their[name] for _, their in rounds), 3),
            "ratio": round(median(our[name] / their[name] for our, their in rounds), 3),
        }
        for name in rounds[0][0]
    }


def main(
    artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 2, only: Annotated[str, Only] = ""
) -> None:
    """Measure and print."""
    pin_to({1})
    path, measured, versions = str(artifact.absolute()), {}, {}
    for peer in [each for each in PEERS if only in ("", each.name)]:
        for precision in ("float32", "int8"):
            name = f"{peer.name}, {precision}"
            try:
                measured[name] = measure(peer, path, precision, seconds)
                versions[peer.name] = installed(peer)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                print(f"{name} did not start here: {error}")
                continue
            print(name, *measured[name].items(), sep="\n  ", flush=True)
    print(write_result(f"peers-{artifact.parent.name}{only and f'-{only}'}", measured, versions))


if __name__ == "__main__":
    script(main)()
