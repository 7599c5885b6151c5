"""The floor: a plain FastAPI handler that runs Pillow and onnxruntime inline.

What anybody writes in ten minutes. No limits, no batches, no health: whatever a server
adds must not cost more than this does without it.
"""

import io
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from model.artifact.folder import read

artifact = read(Path(os.environ["RESNET_ARTIFACT"]))
options = ort.SessionOptions()
options.intra_op_num_threads = int(os.environ.get("RESNET_INTRA_OP_THREADS", "1"))
precision = os.environ.get("RESNET_PRECISION", "float32")
session = ort.InferenceSession(
    artifact.model(precision),  # type: ignore[arg-type]
    options,
    providers=["CPUExecutionProvider"],
)
labels = artifact.manifest.labels
size, channels = artifact.manifest.input.size, artifact.manifest.input.channels
mode = "L" if channels == 1 else "RGB"
app = FastAPI()


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    """Say that it runs."""
    return {"status": "ok"}


def answer(payload: bytes) -> dict[str, list[dict[str, str | float]]]:
    """Decode, resize, infer, rank: on the event loop."""
    image = Image.open(io.BytesIO(payload)).convert(mode).resize((size, size))
    pixels = np.asarray(image, dtype=np.uint8).reshape(1, size, size, channels)
    (probabilities,) = session.run(["probabilities"], {"images": pixels})
    order = probabilities[0].argsort()[::-1][:5]
    return {
        "predictions": [
            {"label": labels[i], "probability": float(probabilities[0][i])} for i in order
        ]
    }


@app.post("/predict")
async def predict(request: Request) -> dict[str, list[dict[str, str | float]]]:
    """Take the body for an image."""
    return answer(await request.body())


@app.post("/form")
async def predict_form(file: UploadFile) -> dict[str, list[dict[str, str | float]]]:
    """Take a form with one image."""
    return answer(await file.read())


@app.post("/pool")
async def predict_in_pool(request: Request) -> dict[str, list[dict[str, str | float]]]:
    """Take the body for an image, and work in a thread of FastAPI's pool."""
    return await run_in_threadpool(answer, await request.body())


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["RESNET_PORT"]), access_log=False, log_level="warning")
