"""The same model behind LitServe: batching as its documentation recommends.

Run in an environment of its own that has litserve, onnxruntime, pillow, numpy and
python-multipart. `PEER_WORKERS` processes run the model; `PEER_BATCH` is the largest batch,
and with 1 LitServe does not batch.
"""

import os
from typing import Any

import litserve  # type: ignore[import-not-found]
from fastapi import Request

from benchmarks.peers.classifier import Classifier

WORKERS, BATCH = int(os.environ.get("PEER_WORKERS", "1")), int(os.environ.get("PEER_BATCH", "32"))


class ImageApi(litserve.LitAPI):  # type: ignore[misc]
    """Decode, run, rank."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model in the worker."""
        self.classifier = Classifier()

    def decode_request(self, request: Request) -> Any:
        """Read the form's file as an image; LitServe hands over forms and JSON only."""
        return self.classifier.read(request["file"].file.read())

    def batch(self, inputs: list[Any]) -> Any:
        """Leave them as they are: `Classifier.run` stacks them."""
        return inputs

    def predict(self, batch: Any) -> Any:
        """Run; without batches LitServe hands over one image and wants one answer."""
        return self.classifier.run([batch])[0] if BATCH == 1 else self.classifier.run(batch)

    def unbatch(self, output: Any) -> Any:
        """Leave them as they are: a list already."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Rank."""
        return self.classifier.rank(output)


if __name__ == "__main__":
    batching = {} if BATCH == 1 else {"max_batch_size": BATCH, "batch_timeout": 0.001}
    api = ImageApi(**batching)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    port = int(os.environ["RESNET_PORT"])
    server.run("127.0.0.1", port, log_level="warning", generate_client_file=False)
