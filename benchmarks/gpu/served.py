"""The service on the GPU: does it start, is it right, how fast, and does it stay up."""

import asyncio
import base64
import json
import random
import signal
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from benchmarks.arguments import SHIPPED
from benchmarks.client import Clients, Connection, prepare
from benchmarks.gpu.rig import Rig, gpu_memory_mb
from benchmarks.images import form, make_image
from benchmarks.process import Process, ours, serving
from benchmarks.rounds import observe
from model.artifact.folder import read

IMAGE_FILES = [make_image(64, "JPEG"), make_image(64)]


def _json(server: Process, path: str, body: bytes | None = None) -> Any:
    headers = {"Content-Type": "application/octet-stream"} if body else {}
    request = urllib.request.Request(server.url(path), body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def _largest_difference(server: Process, artifact: Path) -> float:
    """Compare the golden answers with those over HTTP: the largest difference."""
    manifest, largest = read(artifact).manifest, 0.0
    for golden in manifest.golden:
        image = base64.b64decode(golden.png)
        answer = _json(server, f"/predict?top_k={len(manifest.labels)}", image)
        for each in answer["results"][0]["predictions"]:
            expected = golden.probabilities[each["index"]]
            largest = max(largest, abs(each["probability"] - expected))
    return largest


def starts(rig: Rig) -> None:
    """Start with the shipped model in each precision, and where the GPU is hidden."""
    for precision in ("float32", "float16"):
        before = gpu_memory_mb()
        settings = {"provider": rig.provider, "precision": precision, "artifact": str(SHIPPED)}
        with serving(*ours(**settings)) as server:
            used = gpu_memory_mb()
            rig.found[precision] = {
                "ready_s": round(server.ready_s, 2),
                "provider": _json(server, "/readyz")["model"]["provider"],
                "largest_difference": _largest_difference(server, SHIPPED),
                "gpu_memory_mb": None if used is None or before is None else used - before,
            }
    for policy in ("prefer", "require"):
        rig.found[f"GPU hidden, {policy}"] = _without_gpu(policy)


def _without_gpu(policy: Literal["prefer", "require"]) -> str:
    command, environment = ours(provider="cuda", provider_policy=policy, precision="float32")
    try:
        with serving(command, {**environment, "CUDA_VISIBLE_DEVICES": ""}) as server:
            return f"serves on {_json(server, '/readyz')['model']['provider']}"
    except RuntimeError:
        return "does not start"


def speed(rig: Rig) -> None:
    """Images a second over HTTP, of raw tensors and of JPEG files, with the stages."""
    size = read(rig.large_model).manifest.input.size
    tensor = bytes(size * size * 3)
    head = json.dumps(
        {"inputs": [{"name": "images", "shape": [1, size, size, 3], "datatype": "UINT8",
                     "parameters": {"binary_data_size": len(tensor)}}]}
    ).encode()  # fmt: skip
    told = f"Inference-Header-Content-Length: {len(head)}\r\n"
    bodies = {
        "tensor": ("/v2/models/resnet50/infer", head + tensor, "application/octet-stream", told),
        "jpeg": ("/predict", make_image(400, "JPEG", 100_000), "image/jpeg", ""),
    }
    for precision in read(rig.large_model).manifest.files:
        settings = {"provider": rig.provider, "precision": precision, "max_in_flight": "1024"}
        with serving(*ours(artifact=str(rig.large_model), **settings)) as server:
            for name, (path, body, content_type, headers) in bodies.items():
                url = server.url(path)
                request = prepare(url, body, content_type, headers)
                observe(server, url, request, rig.connections, rig.seconds / 2)
                seen = observe(server, url, request, rig.connections, rig.seconds)
                figures = {key: round(value, 2) for key, value in seen.figures().items()}
                stages = {stage: round(sum(ms) / len(ms), 2) for stage, ms in
                          seen.load.stages.items()}  # fmt: skip
                rig.found[f"{precision} {name}"] = {**figures, "mean_stage_ms": stages}


def stability(rig: Rig) -> None:
    """Many requests of mixed sizes, a reload and the end of the process under load."""
    settings = {"provider": rig.provider, "precision": "float32", "drain_delay_s": "0.2"}
    with serving(*ours(artifact=str(SHIPPED), **settings)) as server:
        before = gpu_memory_mb()
        statuses = asyncio.run(_mixed_requests(server, rig.requests, rig.connections))
        rig.found["mixed sizes"] = {
            "statuses": dict(statuses),
            "gpu_memory_mb_before": before,
            "gpu_memory_mb_after": gpu_memory_mb(),
        }
        clients = Clients(server.url("/predict"), make_image(28), 16)
        code = asyncio.run(_reload_and_end(server, clients))
        rig.found["reload and SIGTERM under load"] = {
            "statuses": dict(clients.statuses),
            "lost": clients.statuses[0],
            "exit_code": code,
        }


async def _mixed_requests(server: Process, requests: int, connections: int) -> Counter[int]:
    """Send requests of 1 to 32 images each."""
    url, pick = server.url("/predict"), random.Random(0)  # noqa: S311  # sizes, no secrets
    bodies = [prepare(url, *form(IMAGE_FILES[1], count)) for count in range(1, 33)]
    statuses: Counter[int] = Counter()

    async def one() -> None:
        connection = await Connection.open("127.0.0.1", server.port)
        for _ in range(requests // connections):
            statuses[(await connection.ask(pick.choice(bodies))).status] += 1
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return statuses


async def _reload_and_end(server: Process, clients: Clients) -> int:
    """Reload and then end the server while clients ask; give the exit code."""
    asking = asyncio.create_task(clients.ask())
    await asyncio.sleep(1)
    server.started.send_signal(signal.SIGHUP)
    await asyncio.sleep(1)
    server.started.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asking, 60)
    return await asyncio.to_thread(server.started.wait, 60)
