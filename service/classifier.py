"""The corridor: decode, preprocess, batch, rank. Alone knows the order.

One `classify` is one request. Decoding and preprocessing run in a pool of threads, the
engine in its own; the event loop only passes things on. The deadline of a request is
kept here.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.artifact import Artifact, ArtifactError, read
from model.preprocessing import Pixels, lies_down, preprocess
from model.reference import brightness
from service.answer import PLAIN, Answered, Judgement, Wish
from service.batcher import Batcher, Ride
from service.decode import open_image, read_image
from service.drift import Drift, Seen
from service.engine import Engine, Outputs, usable_cores
from service.errors import (
    DeadlineExceededError,
    ImageTooLargeError,
    InferenceFailedError,
    StartError,
)
from service.explain import Sent
from service.loading import load_engine
from service.schemas import ModelInfo, Prediction, Result
from service.settings import Settings

REQUEST_PIXELS = 4
"""A request's pictures together may have this many times the pixels allowed for one."""
STUCK_S = 30.0
"""A run that lasts longer will not end."""


@dataclass(frozen=True)
class Timings:
    """Where a request's time went, in seconds; decode and preprocess summed over its pictures."""

    decode: float
    preprocess: float
    queue: float
    infer: float


class Classified(NamedTuple):
    """The answers of one request, in order, with their timings and the largest batch."""

    results: list[Result]
    timings: Timings
    batch_size: int


class _Ready(NamedTuple):
    pixels: Pixels
    decode_s: float
    preprocess_s: float
    sent: Sent
    brightness: float


class Classifier:
    """A loaded model and all that stands before it.

    Args:
        artifact: Read and checked.
        engine: Warmed up.
        settings: Limits.
    """

    def __init__(self, artifact: Artifact, engine: Engine, settings: Settings) -> None:
        """Put the rooms in a row; nothing runs before `start`."""
        self.manifest = artifact.manifest
        self.engine = engine
        self.settings = settings
        self.batcher = Batcher(
            engine.run, max_batch_size=settings.max_batch_size, max_queue=settings.max_queue
        )
        self.info = ModelInfo(
            name=self.manifest.name,
            version=self.manifest.version,
            precision=engine.precision,
            provider=engine.provider,
        )
        self.judgement = Judgement(self.manifest, engine.precision, engine.optional)
        self.drift = Drift(self.manifest.labels, self.manifest.reference, settings.drift_window)
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

    async def classify(
        self, payloads: Sequence[bytes], top_k: int, wish: Wish = PLAIN
    ) -> Classified:
        """Answer the picture files of one request.

        Args:
            payloads: Whole files.
            top_k: Labels wanted for each; more than there are means all.
            wish: What is wanted beyond labels.

        Raises:
            ServiceError: The first refusal; see `service.errors`.
        """
        self.judgement.refuse_impossible(wish)
        deadline_s = self.settings.deadline_ms / 1000
        try:
            async with asyncio.timeout(deadline_s):
                with self.batcher.admit(len(payloads)):
                    ready = await self._prepare(payloads)
                    pixels = [picture.pixels for picture in ready]
                    rides = await self.batcher.submit(pixels, wish.outputs)
                    results = await self._results(rides, ready, top_k, wish)
        except TimeoutError:
            raise DeadlineExceededError(
                f"There was no answer within {deadline_s:g} s; the request was dropped and nothing "
                "else was. Try again, or raise RESNET_DEADLINE_MS."
            ) from None
        timings = Timings(
            decode=sum(picture.decode_s for picture in ready),
            preprocess=sum(picture.preprocess_s for picture in ready),
            queue=max(ride.queue_s for ride in rides),
            infer=max(ride.infer_s for ride in rides),
        )
        self.drift.observe(map(_seen, results, ready))
        return Classified(results, timings, max(ride.batch_size for ride in rides))

    async def _prepare(self, payloads: Sequence[bytes]) -> list[_Ready]:
        """Decode and preprocess in the pool: a lone picture in one go, many side by side."""
        loop = asyncio.get_running_loop()
        if len(payloads) == 1:
            return [await loop.run_in_executor(self._pool, self._prepare_one, payloads[0])]
        opened = await loop.run_in_executor(self._pool, self._open_all, payloads)
        jobs = [
            loop.run_in_executor(self._pool, self._read, image, index)
            for index, image in enumerate(opened)
        ]
        return await asyncio.gather(*jobs)

    def _prepare_one(self, payload: bytes) -> _Ready:
        return self._read(open_image(payload, self.settings.max_pixels), 0)

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
        width, height = image.size  # of the file: the decoder may shrink it
        decoded = read_image(image, self.manifest.preprocessing, index)
        between = time.perf_counter()
        pixels = preprocess(decoded, self.manifest.preprocessing)
        light = brightness(pixels)
        sent = Sent(height, width) if lies_down(image) else Sent(width, height)
        return _Ready(pixels, between - began, time.perf_counter() - between, sent, light)

    async def _results(
        self, rides: Sequence[Ride], ready: Sequence[_Ready], top_k: int, wish: Wish
    ) -> list[Result]:
        """Write the answers, beside the event loop where pictures must be drawn."""

        def write() -> list[Result]:
            return [
                self._result(ride, picture, index, top_k, wish)
                for index, (ride, picture) in enumerate(zip(rides, ready, strict=True))
            ]

        if not wish.draw:
            return write()
        return await asyncio.get_running_loop().run_in_executor(self._pool, write)

    def _result(self, ride: Ride, picture: _Ready, index: int, top_k: int, wish: Wish) -> Result:
        if not np.isfinite(ride.probabilities).all():
            raise InferenceFailedError(
                "The network's answer holds numbers that are not finite. Try another image.",
                index=index,
            )
        answered = Answered(cast(Outputs, ride.rows), ride.place, picture.sent)
        labels = self.manifest.labels
        ranked = rank(ride.probabilities, labels, top_k if wish.coverage is None else len(labels))
        return self.judgement.result(answered, ranked, top_k, wish)


def _seen(result: Result, picture: _Ready) -> Seen:
    top = result.predictions[0]
    return Seen(
        label=top.index,
        confidence=top.probability,
        in_distribution=result.in_distribution,
        brightness=picture.brightness,
        side=min(picture.sent),
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


def load_classifier(settings: Settings) -> Classifier:
    """Read the artifact, load and warm up the engine, and check the golden answers.

    Raises:
        StartError: The first thing that is wrong, in one line.
    """
    try:
        artifact = read(settings.artifact)
        engine = load_engine(artifact, settings)
    except (ArtifactError, InferenceFailedError) as error:
        raise StartError(str(error)) from error
    return Classifier(artifact, engine, settings)
