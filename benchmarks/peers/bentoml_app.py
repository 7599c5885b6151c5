"""The same model behind BentoML: adaptive batching as its documentation has it.

Run in an environment of its own that has bentoml, onnxruntime, pillow and numpy. `PEER_BATCH` is
the largest batch. BentoML learns by itself how long to wait for one.
"""

import os
import sys
from typing import Any

import bentoml  # type: ignore[import-not-found]
from PIL.Image import Image

from benchmarks.peers.classifier import Classifier

BATCH = int(os.environ.get("PEER_BATCH", "32"))


@bentoml.service(workers=1)
class ImageService:
    """Decode, run, rank."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=BATCH)  # type: ignore[untyped-decorator]
    def predict(self, file: list[Image]) -> list[dict[str, Any]]:
        """Classify the files of several forms together."""
        rows = self.classifier.run([self.classifier.fit(image) for image in file])
        return [self.classifier.rank(row) for row in rows]


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    service = "benchmarks.peers.bentoml_app:ImageService"
    place = ["--host", "127.0.0.1", "--port", os.environ["RESNET_PORT"]]
    command = [sys.executable, "-m", "bentoml", "serve", service, *place]
    os.execv(sys.executable, command)  # noqa: S606  # no shell is wanted
