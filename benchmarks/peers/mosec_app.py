"""The same model behind mosec: a front in Rust, and batches as its documentation has them.

Run in an environment of its own that has mosec, onnxruntime, pillow and numpy. `PEER_BATCH` is the
largest batch; with 1 mosec does not batch. It waits up to `PEER_WAIT_MS` for a batch to fill.
"""

import json
import os
import sys
from typing import Any

from mosec import Server, Worker  # type: ignore[import-not-found]

from benchmarks.peers.classifier import Classifier

BATCH, WAIT_MS = int(os.environ.get("PEER_BATCH", "16")), int(os.environ.get("PEER_WAIT_MS", "1"))


class ImageWorker(Worker):  # type: ignore[misc]
    """Decode, run, rank."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    def deserialize(self, data: bytes) -> Any:
        """Read the body as an image."""
        return self.classifier.read(data)

    def forward(self, data: Any) -> Any:
        """Run; without batches mosec hands over one image and wants one answer."""
        return self.classifier.run(data) if BATCH > 1 else self.classifier.run([data])[0]

    def serialize(self, data: Any) -> bytes:
        """Rank."""
        return json.dumps(self.classifier.rank(data)).encode()


if __name__ == "__main__":
    sys.argv += ["--address", "127.0.0.1", "--port", os.environ["RESNET_PORT"]]
    server = Server()
    server.append_worker(ImageWorker, max_batch_size=BATCH, max_wait_time=WAIT_MS, route="/predict")
    server.run()
