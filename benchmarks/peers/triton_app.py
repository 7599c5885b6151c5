"""The same model behind Triton's Python backend, started by nvidia-pytriton.

Run in an environment of its own that has nvidia-pytriton, onnxruntime and pillow, made by an
interpreter that its stub can link: Debian's does, some that were built by hand do not.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image
from pytriton.decorators import batch  # type: ignore[import-not-found]
from pytriton.model_config import (  # type: ignore[import-not-found]
    DynamicBatcher,
    ModelConfig,
    Tensor,
)
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found]

FOLDER = Path(os.environ["RESNET_ARTIFACT"])
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
PRECISION = os.environ.get("RESNET_PRECISION", "float32")
SIZE, CHANNELS = MANIFEST["input"]["size"], MANIFEST["input"]["channels"]
NAME = f"{MANIFEST['name']}-image"


def decoded(payload: bytes) -> Any:
    """Read a file as the network's input."""
    image = Image.open(io.BytesIO(payload)).convert("L" if CHANNELS == 1 else "RGB")
    pixels = np.asarray(image.resize((SIZE, SIZE)), dtype=np.uint8)
    return pixels.reshape(SIZE, SIZE, CHANNELS)


def main() -> None:
    """Serve until the process is ended."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("RESNET_INTRA_OP_THREADS", "1"))
    model = FOLDER / MANIFEST["files"][PRECISION]["path"]
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    @batch  # type: ignore[untyped-decorator]
    def infer(images: Any) -> dict[str, Any]:
        """BYTES (N, 1) -> float32 (N, K)."""
        pixels = np.stack([decoded(payload) for payload in images[:, 0]])
        return {"probabilities": session.run(["probabilities"], {"images": pixels})[0]}

    port = int(os.environ["RESNET_PORT"])
    config = TritonConfig(
        http_port=port, grpc_port=port + 1, metrics_port=port + 2, http_address="127.0.0.1"
    )
    with Triton(config=config) as triton:
        triton.bind(
            NAME,
            infer,
            inputs=[Tensor(name="images", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="probabilities", dtype=np.float32, shape=(len(MANIFEST["labels"]),))
            ],
            config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main()
