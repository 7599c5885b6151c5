"""The same model behind BentoML: adaptive batching as its documentation has it.

Run in an environment of its own that has bentoml, onnxruntime, pillow and numpy. `PEER_BATCH` is
the largest batch. BentoML learns by itself how long to wait for one.
"""

import json
import os
import sys
from pathlib import Path

import bentoml  # type: ignore[import-not-found]
import numpy as np
import onnxruntime as ort
from PIL.Image import Image

FOLDER = Path(os.environ["RESNET_ARTIFACT"])
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
PRECISION = os.environ.get("RESNET_PRECISION", "float32")
BATCH = int(os.environ.get("PEER_BATCH", "32"))
SIZE, CHANNELS = MANIFEST["input"]["size"], MANIFEST["input"]["channels"]


@bentoml.service(workers=1)
class Classifier:
    """Decode, stack, run, rank."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("RESNET_INTRA_OP_THREADS", "1"))
        model = FOLDER / MANIFEST["files"][PRECISION]["path"]
        providers = ["CPUExecutionProvider"]
        self.session = ort.InferenceSession(str(model), options, providers=providers)

    @bentoml.api(batchable=True, max_batch_size=BATCH)  # type: ignore[untyped-decorator]
    def predict(self, file: list[Image]) -> list[dict[str, object]]:
        """Classify the files of several forms together."""
        decoded = [
            np.asarray(
                image.convert("L" if CHANNELS == 1 else "RGB").resize((SIZE, SIZE)), dtype=np.uint8
            ).reshape(SIZE, SIZE, CHANNELS)
            for image in file
        ]
        (rows,) = self.session.run(["probabilities"], {"images": np.stack(decoded)})
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


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.chdir(Path(__file__).parent)  # it imports the service from here
    command = [sys.executable, "-m", "bentoml", "serve", "bentoml_app:Classifier"]
    place = ["--host", "127.0.0.1", "--port", os.environ["RESNET_PORT"]]
    os.execv(sys.executable, [*command, *place])  # noqa: S606  # no shell is wanted
