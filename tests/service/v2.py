"""What the tests of the V2 protocol share: the default model served, requests, answers."""

import gzip
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import Service
from tests.service.conftest import serving as serving_app

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "artifacts/fashion-mnist/1"
SPLIT = ROOT / "tests/data/fashion-mnist/t10k-images-idx3-ubyte.gz"
HEADER = "Inference-Header-Content-Length"
MODEL = "/v2/models/fashion-mnist"
INFER, INFER_IMAGE = MODEL + "/infer", MODEL + "-image/infer"
ANKLE_BOOT = 9
"""The label of the test split's first image."""


@asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[Service]:
    """Serve the default model in this process."""
    limits: dict[str, Any] = {"intra_op_threads": 1, "concurrent_runs": 1, "max_batch_size": 4}
    app = create_app(Settings(artifact=SHIPPED, **(limits | changes)))
    async with serving_app(app) as service:
        yield service


def pixels(count: int = 1) -> NDArray[np.uint8]:
    """Give the first images of the test split as a tensor: uint8 (N, 28, 28, 1)."""
    content = gzip.decompress(SPLIT.read_bytes())
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28, 1)[:count]


def png(index: int = 0) -> bytes:
    """Give an image of the test split as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels(index + 1)[index, :, :, 0]).save(file, "PNG")
    return file.getvalue()


def asking(shape: list[int], datatype: str, **more: Any) -> dict[str, Any]:
    """Write a request for the one input."""
    return {"inputs": [{"name": "images", "datatype": datatype, "shape": shape, **more}]}


def binary(content: dict[str, Any], blob: bytes) -> tuple[bytes, dict[str, str]]:
    """Put numbers behind the JSON: the body, and the header that says where they begin."""
    content["inputs"][0]["parameters"] = {"binary_data_size": len(blob)}
    text = json.dumps(content).encode()
    return text + blob, {HEADER: str(len(text))}


def read_answer(response: httpx.Response) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Read an answer's JSON, and its numbers wherever they are."""
    assert response.status_code == 200, response.text
    end = int(response.headers.get(HEADER, len(response.content)))
    content: dict[str, Any] = json.loads(response.content[:end])
    arrays = {}
    for output in content["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = np.array(output["data"], np.float32)
        else:
            values = np.frombuffer(response.content[end : end + size], "<f4")
            end += size
        arrays[output["name"]] = values.reshape(output["shape"])
    assert end == len(response.content)
    return content, arrays


def error_of(response: httpx.Response, status: int) -> str:
    """Check that an error has the protocol's form, and give its text."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    text: str = response.json()["error"]
    return text
