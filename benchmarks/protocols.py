"""The Open Inference Protocol over REST and over gRPC, asked in turns in one server process.

`python -m benchmarks.protocols [ARTIFACT] [SECONDS]`: one server with both ports. Each request has
one image file, or one tensor; REST gets the binary form. A closed loop of some connections; of
gRPC, calls on as many channels. Compare the processor time of the server for a request: the clients
differ, and have the other core.
"""

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

import grpc
import numpy as np
import uvloop

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import Load
from benchmarks.images import make_image
from benchmarks.process import Process, ours, pin_to, serving, write_result
from benchmarks.rounds import Observed, Round, closed_round
from model.artifact.folder import read
from model.cli import script
from service.api.grpc.messages import MESSAGES, SERVICE
from service.api.v2.tensors import LENGTH

ROUNDS = 5
CONNECTIONS = (1, 16)


class Asked(NamedTuple):
    """What a request asks for."""

    model: str
    datatype: str
    shape: list[int]
    content: bytes


def rest_request(asked: Asked) -> bytes:
    """Write a whole request in the binary form."""
    model, datatype, shape, content = asked
    tensor = {"name": "images", "datatype": datatype, "shape": shape}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: localhost\r\n"
        f"inference-header-content-length: {len(text)}\r\n"
        f"content-length: {len(text) + len(content)}\r\n\r\n"
    ).encode() + (text + content)


def grpc_request(asked: Asked) -> bytes:
    """Write the message of a call."""
    model, datatype, shape, content = asked
    request = MESSAGES["ModelInferRequest"](model_name=model, raw_input_contents=[content])
    request.inputs.add(name="images", datatype=datatype, shape=shape)
    message: bytes = request.SerializeToString()
    return message


async def grpc_loop(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Call on some channels, each with its next call when it has its answer."""
    load, began = Load(), time.perf_counter()

    async def keep_calling() -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each channel
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=own) as channel:
            call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            while (now := time.perf_counter()) < began + seconds:
                await call(request)
                load.latencies.append(time.perf_counter() - now)

    await asyncio.gather(*(keep_calling() for _ in range(connections)))
    load.seconds = time.perf_counter() - began
    return load


def grpc_round(
    server: Process, port: int, request: bytes, connections: int, seconds: float
) -> Round:
    """As `closed_round`, over gRPC."""
    before = server.cpu_s()
    load = uvloop.run(grpc_loop(port, request, connections, seconds))
    return Observed(load, server.cpu_s() - before).figures()


def traffic(artifact: ArtifactFolder) -> Mapping[str, Asked]:
    """Name each kind of request."""
    manifest = read(artifact).manifest
    size, channels = manifest.input.size, manifest.input.channels
    file = make_image(size)
    pixels = np.zeros((1, size, size, channels), np.uint8)
    return {
        "file": Asked(f"{manifest.name}-image", "BYTES", [1], LENGTH.pack(len(file)) + file),
        "tensor": Asked(manifest.name, "UINT8", list(pixels.shape), pixels.tobytes()),
    }


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 2.0) -> None:
    """Measure, print, and keep the result."""
    pin_to({1})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    command, environment = ours(artifact=str(artifact), grpc_port=str(port), log_level="warning")
    measured = {}
    with serving(command, environment, cores={0}) as server:
        for name, asked in traffic(artifact).items():
            url = server.url(f"/v2/models/{asked.model}/infer")
            for connections in CONNECTIONS:
                rounds: dict[str, list[Round]] = {"rest": [], "grpc": []}
                for _ in range(ROUNDS):
                    request = rest_request(asked)
                    rounds["rest"].append(closed_round(server, url, request, connections, seconds))
                    message = grpc_request(asked)
                    rounds["grpc"].append(grpc_round(server, port, message, connections, seconds))
                measured[f"{name}, {connections}"] = row = summary(rounds)
                print(f"{name:8} {connections:3} connections: {row}", flush=True)
    print(write_result("protocols", measured))


def summary(rounds: Mapping[str, list[Round]]) -> dict[str, float]:
    """Give the median of each figure, and of the ratios of gRPC to REST within a round."""
    found = {
        f"{kind}_{name}": median(each[name] for each in those)
        for kind, those in rounds.items()
        for name in ("per_second", "cpu_ms", "p50_ms")
    }
    for name in ("per_second", "cpu_ms"):
        pairs = zip(rounds["grpc"], rounds["rest"], strict=True)
        found[f"ratio_{name}"] = median(grpc[name] / rest[name] for grpc, rest in pairs)
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    script(main)()
