"""What every peer written in Python does with an image: decode, run, rank.

The interpreter is the peer's own, so this needs onnxruntime, pillow and numpy alone.
"""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

SHOWN = 5
"""Labels in an answer."""


class Classifier:
    """The artifact and precision that the environment names, on one core unless it says more."""

    def __init__(self) -> None:
        folder = Path(os.environ["RESNET_ARTIFACT"])
        manifest = json.loads((folder / "manifest.json").read_text())
        self._labels: list[str] = manifest["labels"]
        self._size, self._channels = manifest["input"]["size"], manifest["input"]["channels"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("RESNET_INTRA_OP_THREADS", "1"))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        precision = os.environ.get("RESNET_PRECISION", "float32")
        model = str(folder / manifest["files"][precision]["path"])
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def read(self, data: bytes) -> NDArray[np.uint8]:
        """Decode an image file, uint8 (S, S, C)."""
        return self.fit(Image.open(io.BytesIO(data)))

    def fit(self, image: Image.Image) -> NDArray[np.uint8]:
        """Convert an image to the network's channels and size, uint8 (S, S, C)."""
        image = image.convert("L" if self._channels == 1 else "RGB")
        if image.size != (self._size, self._size):
            image = image.resize((self._size, self._size))
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels.reshape(self._size, self._size, self._channels)

    def run(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Compute the probabilities (K,) of each of N images."""
        (rows,) = self._session.run(["probabilities"], {"images": np.stack(images)})
        return list(rows)

    def rank(self, probabilities: NDArray[np.float32]) -> dict[str, Any]:
        """Write an answer: the most probable labels first."""
        order = probabilities.argsort()[::-1][:SHOWN]
        return {
            "predictions": [
                {"label": self._labels[i], "probability": float(probabilities[i])} for i in order
            ]
        }
