"""The same model behind LitServe: batching as its documentation recommends.

Run in an environment of its own that has litserve, onnxruntime, pillow, numpy and
python-multipart. `PEER_WORKERS` processes run the model; `PEER_BATCH` is the largest batch,
and with 1 LitServe does not batch.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import litserve  # type: ignore[import-not-found]
import numpy as np
import onnxruntime as ort
from fastapi import Request
from PIL import Image

FOLDER = Path(os.environ["RESNET_ARTIFACT"])
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
PRECISION = os.environ.get("RESNET_PRECISION", "float32")
WORKERS, BATCH = int(os.environ.get("PEER_WORKERS", "1")), int(os.environ.get("PEER_BATCH", "32"))
SIZE, CHANNELS = MANIFEST["input"]["size"], MANIFEST["input"]["channels"]


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    """Decode, stack, run, rank."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model in the worker."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("RESNET_INTRA_OP_THREADS", "1"))
        model = FOLDER / MANIFEST["files"][PRECISION]["path"]
        providers = ["CPUExecutionProvider"]
        self.session = ort.InferenceSession(str(model), options, providers=providers)

    def decode_request(self, request: Request) -> Any:
        """Read the form's file as an image; LitServe hands over forms and JSON only."""
        opened = Image.open(io.BytesIO(request["file"].file.read()))
        image = opened.convert("L" if CHANNELS == 1 else "RGB").resize((SIZE, SIZE))
        return np.asarray(image, dtype=np.uint8).reshape(SIZE, SIZE, CHANNELS)

    def batch(self, inputs: list[Any]) -> Any:
        """Stack."""
        return np.stack(inputs)

    def predict(self, batch: Any) -> Any:
        """Run; without batches LitServe hands over one image and wants one answer."""
        if BATCH == 1:
            return self.session.run(["probabilities"], {"images": batch[None]})[0][0]
        return self.session.run(["probabilities"], {"images": batch})[0]

    def unbatch(self, output: Any) -> Any:
        """Take apart."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Rank."""
        order = output.argsort()[::-1][:5]
        labels = MANIFEST["labels"]
        predictions = [{"label": labels[i], "probability": float(output[i])} for i in order]
        return {"predictions": predictions}


if __name__ == "__main__":
    batching = {} if BATCH == 1 else {"max_batch_size": BATCH, "batch_timeout": 0.001}
    api = Classifier(**batching)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    port = int(os.environ["RESNET_PORT"])
    server.run("127.0.0.1", port, log_level="warning", generate_client_file=False)
