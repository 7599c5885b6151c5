"""The same model behind mosec: a front in Rust, and batches as its documentation has them.

Run in an environment of its own that has mosec, onnxruntime, pillow and numpy. `PEER_BATCH` is the
largest batch; with 1 mosec does not batch. It waits up to `PEER_WAIT_MS` for a batch to fill.
"""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from mosec import Server, Worker  # type: ignore[import-not-found]
from PIL import Image

FOLDER = Path(os.environ["RESNET_ARTIFACT"])
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
PRECISION = os.environ.get("RESNET_PRECISION", "float32")
BATCH, WAIT_MS = int(os.environ.get("PEER_BATCH", "16")), int(os.environ.get("PEER_WAIT_MS", "1"))
SIZE, CHANNELS = MANIFEST["input"]["size"], MANIFEST["input"]["channels"]


class Classifier(Worker):  # type: ignore[misc]
    """Decode, stack, run, rank."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("RESNET_INTRA_OP_THREADS", "1"))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = FOLDER / MANIFEST["files"][PRECISION]["path"]
        providers = ["CPUExecutionProvider"]
        self.session = ort.InferenceSession(str(model), options, providers=providers)

    def deserialize(self, data: bytes) -> Any:
        """Read the body as an image."""
        image = Image.open(io.BytesIO(data)).convert("L" if CHANNELS == 1 else "RGB")
        if image.size != (SIZE, SIZE):
            image = image.resize((SIZE, SIZE))
        return np.asarray(image, dtype=np.uint8).reshape(SIZE, SIZE, CHANNELS)

    def forward(self, data: Any) -> Any:
        """Run; without batches mosec hands over one image and wants one answer."""
        batch = np.stack(data) if BATCH > 1 else data[None]
        (probabilities,) = self.session.run(["probabilities"], {"images": batch})
        return list(probabilities) if BATCH > 1 else probabilities[0]

    def serialize(self, data: Any) -> bytes:
        """Rank."""
        order = data.argsort()[::-1][:5]
        labels = MANIFEST["labels"]
        predictions = [{"label": labels[i], "probability": float(data[i])} for i in order]
        return json.dumps({"predictions": predictions}).encode()


if __name__ == "__main__":
    sys.argv += ["--address", "127.0.0.1", "--port", os.environ["RESNET_PORT"]]
    server = Server()
    server.append_worker(Classifier, max_batch_size=BATCH, max_wait_time=WAIT_MS, route="/predict")
    server.run()
