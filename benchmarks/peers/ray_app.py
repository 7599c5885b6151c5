"""The same model behind Ray Serve: batches as its documentation has them.

Run in an environment of its own that has ray[serve], onnxruntime, pillow and numpy. `PEER_BATCH` is
the largest batch; it waits up to `PEER_WAIT_MS` for a batch to fill.
"""

import asyncio
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import ray
from PIL import Image
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

FOLDER = Path(os.environ["RESNET_ARTIFACT"])
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
PRECISION = os.environ.get("RESNET_PRECISION", "float32")
BATCH, WAIT_MS = int(os.environ.get("PEER_BATCH", "16")), int(os.environ.get("PEER_WAIT_MS", "1"))
SIZE, CHANNELS = MANIFEST["input"]["size"], MANIFEST["input"]["channels"]


class Classifier:
    """Decode, stack, run, rank."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("RESNET_INTRA_OP_THREADS", "1"))
        model = FOLDER / MANIFEST["files"][PRECISION]["path"]
        providers = ["CPUExecutionProvider"]
        self.session = ort.InferenceSession(str(model), options, providers=providers)

    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=BATCH, batch_wait_timeout_s=WAIT_MS / 1000
    )
    async def classify(self, bodies: list[bytes]) -> list[dict[str, Any]]:
        """Classify the bodies of several requests together."""
        images = [
            np.asarray(
                Image.open(io.BytesIO(body))
                .convert("L" if CHANNELS == 1 else "RGB")
                .resize((SIZE, SIZE)),
                dtype=np.uint8,
            ).reshape(SIZE, SIZE, CHANNELS)
            for body in bodies
        ]
        (rows,) = self.session.run(["probabilities"], {"images": np.stack(images)})
        labels = MANIFEST["labels"]
        return [
            {
                "predictions": [
                    {"label": labels[i], "probability": float(row[i])}
                    for i in row.argsort()[::-1][:5]
                ]
            }
            for row in rows
        ]

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer one request; a GET asks whether it is ready."""
        if request.method == "GET":
            return JSONResponse({})
        return JSONResponse(await self.classify(await request.body()))


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    place = {"host": "127.0.0.1", "port": int(os.environ["RESNET_PORT"])}
    serve.start(http_options=place)
    deployment = serve.deployment(Classifier).options(max_ongoing_requests=4 * BATCH)
    serve.run(deployment.bind(), route_prefix="/predict")
    asyncio.run(asyncio.Event().wait())
