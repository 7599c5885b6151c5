"""Good and bad versions of a model, brought to a server under load."""

import asyncio
import json
import shutil
import signal
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.certificates import Certificate
from benchmarks.client import Clients
from benchmarks.images import make_image
from benchmarks.process import Process, ours, serving

SHIPPED = Path("artifacts/fashion-mnist/1")
GOOD, BAD = 50, 40
FIRST_BAD = 1000
"""Number of the first bad version."""


def _truncate(folder: Path) -> None:
    for path in folder.glob("*.onnx"):
        path.write_bytes(path.read_bytes()[:1000])


def _flip_a_bit(folder: Path) -> None:
    for path in folder.glob("*.onnx"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def _lose_the_model(folder: Path) -> None:
    for path in folder.glob("*.onnx"):
        path.unlink()


def _cut_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-100])


def _forge_the_answers(folder: Path) -> None:
    manifest = _manifest(folder)
    for answer in manifest["golden"]:
        answer["probabilities"] = answer["probabilities"][1:] + answer["probabilities"][:1]
        answer["top1"] = (answer["top1"] - 1) % len(answer["probabilities"])
    (folder / "manifest.json").write_text(json.dumps(manifest))


DAMAGES: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        "truncated file": _truncate,
        "flipped bit": _flip_a_bit,
        "missing file": _lose_the_model,
        "cut manifest": _cut_the_manifest,
        "other golden answers": _forge_the_answers,
    }
)


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


class Shelf:
    """A folder of versions, and the server that polls it on request."""

    def __init__(self, root: Path) -> None:
        """Begin with the shipped artifact as version 1."""
        self.folder = root / "model"
        self._making = root / "making"
        self.put(1)

    def put(self, version: int, damage: Callable[[Path], None] = lambda _: None) -> None:
        """Bring a version into place, whole."""
        shutil.copytree(SHIPPED, self._making)
        manifest = {**_manifest(self._making), "version": str(version)}
        (self._making / "manifest.json").write_text(json.dumps(manifest))
        damage(self._making)
        self.folder.mkdir(exist_ok=True)
        self._making.rename(self.folder / str(version))

    def remove(self, version: int) -> None:
        """Take a version away."""
        shutil.rmtree(self.folder / str(version))

    async def outcome(self, server: Process, version: int) -> str:
        """Have the server poll, and wait until it serves the version or has refused it."""
        server.started.send_signal(signal.SIGHUP)
        end = time.perf_counter() + 60
        while time.perf_counter() < end:
            ready = await asyncio.to_thread(_ready, server)
            if ready["model"]["version"] == str(version):
                return "served"
            if version >= FIRST_BAD and ready["refused"]:
                return "refused"
            await asyncio.sleep(0.05)
        return "neither"


def _ready(server: Process) -> dict[str, Any]:
    url = server.url("/readyz")
    with urllib.request.urlopen(url, timeout=30, context=server.context) as response:  # noqa: S310
        found: dict[str, Any] = json.load(response)
    return found


async def _bring(
    shelf: Shelf, server: Process, certificate: Certificate | None
) -> dict[str, object]:
    """Bring good and bad versions by turns, under load; bad ones with a spoilt certificate."""
    clients = Clients(server.url("/predict"), make_image(28), 4, server.context)
    asking = asyncio.create_task(clients.ask())
    good, bad, kept = [], [], []
    damages = list(DAMAGES.values())
    for number in range(GOOD):
        version = number + 2
        if number < BAD:
            await asyncio.to_thread(shelf.put, FIRST_BAD + number, damages[number % len(damages)])
            if certificate is not None:
                certificate.spoil(number)
            bad.append(await shelf.outcome(server, FIRST_BAD + number))
            if certificate is not None:
                kept.append(await certificate.is_served(server))
                certificate.restore()
            await asyncio.to_thread(shelf.remove, FIRST_BAD + number)
        await asyncio.to_thread(shelf.put, version)
        good.append(await shelf.outcome(server, version))
        await asyncio.to_thread(shelf.remove, version - 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    found: dict[str, object] = {
        "good": len(good),
        "good_served": good.count("served"),
        "bad": len(bad),
        "bad_refused": bad.count("refused"),
        "statuses": dict(clients.statuses),
    }
    return found if certificate is None else {**found, "certificates_kept": sum(kept)}


def reloads(certificate: Certificate | None = None) -> dict[str, object]:
    """Run all of it against a server of its own, with TLS if there is a certificate."""
    files = {} if certificate is None else certificate.settings()
    with tempfile.TemporaryDirectory() as root:
        shelf = Shelf(Path(root))
        command, environment = ours(
            artifact=str(shelf.folder), reload_interval_s="0", log_level="warning", **files
        )
        with serving(command, environment) as server:
            before = server.resident_bytes()
            found = asyncio.run(_bring(shelf, server, certificate))
            found["grown_mb"] = round((server.resident_bytes() - before) / 1e6, 1)
    return found
