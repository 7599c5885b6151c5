"""The corridor: decode, preprocess, batch, rank. Alone knows the order.

One `classify` is one request. The engine runs in threads of its own, large pictures are
decoded in a pool; a picture of a few kilobytes is decoded at once, since passing it to
another thread and back costs more than that. The deadline of a request is kept here.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.artifact import Artifact
from model.preprocessing import Pixels, preprocess
from service.batcher import Batcher, Ride, Submission
from service.decode import open_image, read_image
from service.engine import Engine, usable_cores
from service.errors import (
    ClientLeftError,
    DeadlineExceededError,
    ImageTooLargeError,
    InferenceFailedError,
)
from service.plan import Plan
from service.schemas import ModelInfo, Prediction, Result
from service.settings import Settings

REQUEST_PIXELS = 4
"""A request's pictures together may have this many times the pixels allowed for one."""
SMALL_BYTES, SMALL_PIXELS = 32_768, 16_384
"""A file and picture up to this size is decoded on the event loop: about 0.03 ms at 28 x 28,
at most 0.5 ms at 128 x 128, where a pool's two thread switches cost 0.1 ms of the interpreter."""
ON_LEAVE = "resnet.on_leave"
"""Where a request's ASGI scope holds its `Departure`, for the server to call."""
STUCK_S = 30.0
"""A run that lasts longer will not end."""


@dataclass(frozen=True)
class Timings:
    """Where a request's time went, in seconds; decode and preprocess summed over its pictures."""

    decode: float
    preprocess: float
    queue: float
    infer: float


class Answered(NamedTuple):
    """What the engine gave for the pictures of one request, in order."""

    rides: list[Ride]
    timings: Timings

    @property
    def batch_size(self) -> int:
        """Pictures in the largest batch that the request rode in."""
        return max(ride.batch_size for ride in self.rides)


class Departure:
    """Tells a request that its client is gone; called by the server, on the event loop."""

    __slots__ = ("gone", "submission")

    def __init__(self) -> None:
        """The client is there, and nothing was submitted."""
        self.gone = False
        self.submission: Submission | None = None

    def __call__(self) -> None:
        """Take the request out of the queue."""
        self.gone = True
        if self.submission is not None:
            self.submission.leave()


class _Ready(NamedTuple):
    pixels: Pixels
    decode_s: float
    preprocess_s: float


class Classifier:
    """A loaded model and all that stands before it.

    Args:
        artifact: Read and checked.
        engine: Warmed up.
        plan: The engine's measured times.
        settings: Limits.
    """

    def __init__(self, artifact: Artifact, engine: Engine, plan: Plan, settings: Settings) -> None:
        """Put the rooms in a row; nothing runs before `start`."""
        self.manifest = artifact.manifest
        self.engine = engine
        self.settings = settings
        self.batcher = Batcher(
            engine.run,
            plan,
            max_batch_size=settings.max_batch_size,
            max_queue=settings.max_queue,
        )
        self.info = ModelInfo(
            name=self.manifest.name,
            version=self.manifest.version,
            precision=engine.precision,
            provider=engine.provider,
        )
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")

    def start(self) -> None:
        """Begin to answer; to be called on the event loop."""
        self.batcher.start()

    async def stop(self) -> None:
        """End the threads."""
        await self.batcher.stop()
        self._pool.shutdown()

    @property
    def is_stuck(self) -> bool:
        """Whether the engine's present run has gone on for longer than any run should."""
        return self.batcher.busy_s() > STUCK_S

    async def answer(
        self,
        payloads: Sequence[bytes],
        patience_s: float | None = None,
        departure: Departure | None = None,
    ) -> Answered:
        """Answer the picture files of one request.

        Args:
            payloads: Whole files.
            patience_s: The client's deadline; the service's own is the upper limit.
            departure: Is called if the client leaves.

        Raises:
            ServiceError: The first refusal; see `service.errors`.
        """
        patience_s = self.patience_s(patience_s)
        deadline = time.perf_counter() + patience_s
        with self.batcher.admit(len(payloads), patience_s):
            ready = await self._prepare(payloads)
            images = [picture.pixels for picture in ready]
            rides = await self._ride(images, deadline, departure or Departure())
        decode_s = sum(picture.decode_s for picture in ready)
        preprocess_s = sum(picture.preprocess_s for picture in ready)
        return Answered(rides, _timings(rides, decode_s, preprocess_s))

    async def answer_tensors(
        self,
        images: Sequence[Pixels],
        patience_s: float | None = None,
        departure: Departure | None = None,
    ) -> Answered:
        """Answer pictures that are the network's input already: uint8 (S, S, C) each.

        Raises:
            ServiceError: The first refusal; see `service.errors`.
        """
        patience_s = self.patience_s(patience_s)
        deadline = time.perf_counter() + patience_s
        with self.batcher.admit(len(images), patience_s):
            rides = await self._ride(images, deadline, departure or Departure())
        return Answered(rides, _timings(rides, 0.0, 0.0))

    def patience_s(self, wanted_s: float | None) -> float:
        """Give a request's deadline in seconds: the client's, or the service's if that is less."""
        limit_s = self.settings.deadline_ms / 1000
        return limit_s if wanted_s is None else min(wanted_s, limit_s)

    def rank(self, answered: Answered, top_k: int) -> list[Result]:
        """Name the likeliest labels of each picture."""
        labels = self.manifest.labels
        return [
            Result(predictions=rank(ride.probabilities, labels, top_k)) for ride in answered.rides
        ]

    async def _ride(
        self, images: Sequence[Pixels], deadline: float, departure: Departure
    ) -> list[Ride]:
        """Wait for the engine, for the deadline, or for the client to leave."""
        left_s = deadline - time.perf_counter()
        if departure.gone:
            raise ClientLeftError("The client closed the connection before the answer.")
        if left_s <= 0:
            raise DeadlineExceededError(
                "The deadline passed while the images were decoded; they were not run. "
                "Try again, or allow more time."
            )
        submission = departure.submission = self.batcher.submit(images, deadline)
        timer = asyncio.get_running_loop().call_later(left_s, submission.expire)
        try:
            rides = await submission.answer
        finally:
            timer.cancel()
        for index, ride in enumerate(rides):
            if not np.isfinite(ride.probabilities).all():
                raise InferenceFailedError(
                    "The network's answer holds numbers that are not finite. Try another image.",
                    index=index,
                )
        return rides

    async def _prepare(self, payloads: Sequence[bytes]) -> list[_Ready]:
        """Decode and preprocess: a small picture at once, others in the pool, side by side."""
        loop = asyncio.get_running_loop()
        if len(payloads) > 1:
            opened = await loop.run_in_executor(self._pool, self._open_all, payloads)
        else:
            image = open_image(payloads[0], self.settings.max_pixels)
            if len(payloads[0]) <= SMALL_BYTES and image.width * image.height <= SMALL_PIXELS:
                return [self._read(image, 0)]
            opened = [image]
        jobs = [
            loop.run_in_executor(self._pool, self._read, image, index)
            for index, image in enumerate(opened)
        ]
        return await asyncio.gather(*jobs)

    def _open_all(self, payloads: Sequence[bytes]) -> list[Image.Image]:
        """Read all headers, and refuse a request that is too large as a whole."""
        limit = self.settings.max_pixels
        images = [open_image(payload, limit, index) for index, payload in enumerate(payloads)]
        pixels = sum(image.width * image.height for image in images)
        if pixels > REQUEST_PIXELS * limit:
            raise ImageTooLargeError(
                f"The request's {len(images)} images have {pixels:,} pixels together; the limit "
                f"is {REQUEST_PIXELS * limit:,}. Send fewer at once, or raise RESNET_MAX_PIXELS."
            )
        return images

    def _read(self, image: Image.Image, index: int) -> _Ready:
        began = time.perf_counter()
        decoded = read_image(image, self.manifest.preprocessing, index)
        between = time.perf_counter()
        pixels = preprocess(decoded, self.manifest.preprocessing)
        return _Ready(pixels, between - began, time.perf_counter() - between)


def _timings(rides: Sequence[Ride], decode_s: float, preprocess_s: float) -> Timings:
    return Timings(
        decode=decode_s,
        preprocess=preprocess_s,
        queue=max(ride.queue_s for ride in rides),
        infer=max(ride.infer_s for ride in rides),
    )


def rank(probabilities: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """Give the likeliest labels first; of equals, the one that comes first in `labels`.

    Args:
        probabilities: float32 (K,).
        labels: K names.
        top_k: How many; more than K means all.
    """
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [
        Prediction(
            label=labels[index],
            index=index,
            probability=min(max(float(probabilities[index]), 0), 1),
        )
        for index in order.tolist()
    ]
