"""The same model behind Ray Serve: batches as its documentation has them.

Run in an environment of its own that has ray[serve], onnxruntime, pillow and numpy. `PEER_BATCH` is
the largest batch; it waits up to `PEER_WAIT_MS` for a batch to fill.
"""

import asyncio
import os
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from benchmarks.peers.classifier import Classifier

BATCH, WAIT_MS = int(os.environ.get("PEER_BATCH", "16")), int(os.environ.get("PEER_WAIT_MS", "1"))


class ImageDeployment:
    """Decode, run, rank."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=BATCH, batch_wait_timeout_s=WAIT_MS / 1000
    )
    async def classify(self, bodies: list[bytes]) -> list[dict[str, Any]]:
        """Classify the bodies of several requests together."""
        rows = self.classifier.run([self.classifier.read(body) for body in bodies])
        return [self.classifier.rank(row) for row in rows]

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer one request; a GET asks whether it is ready."""
        if request.method == "GET":
            return JSONResponse({})
        return JSONResponse(await self.classify(await request.body()))


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    place = {"host": "127.0.0.1", "port": int(os.environ["RESNET_PORT"])}
    serve.start(http_options=place)
    deployment = serve.deployment(ImageDeployment).options(max_ongoing_requests=4 * BATCH)
    serve.run(deployment.bind(), route_prefix="/predict")
    asyncio.run(asyncio.Event().wait())
