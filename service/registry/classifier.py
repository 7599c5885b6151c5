"""The pipeline of one request: decode, preprocess, batch, post-process.

The only module that knows the order. The engine runs in its own threads; large images are decoded
in a pool.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from model.artifact.folder import Artifact
from model.preprocessing import Pixels
from service.cancellation import Disconnect
from service.errors import ClientDisconnectedError, DeadlineExceededError
from service.inference.admission import Admission
from service.inference.batcher import Batcher
from service.inference.cost import CostModel
from service.inference.engine import Engine
from service.inference.outputs import ImageOutput
from service.postprocessing.batch import BatchAnswers, label_heads, read_batch
from service.postprocessing.drift import UNKNOWN, Drift, Observation
from service.postprocessing.finishing import RENDERING, SERIALISING, Finishing
from service.postprocessing.schemas import ModelInfo, Result
from service.postprocessing.trust import DEFAULT, NO_OUTPUTS, PredictOptions, Trust
from service.preprocessing.prepare import POOLED_BYTES, PreparedImage, Preprocessor
from service.registry.observers import NO_OBSERVERS, Observers
from service.registry.outcome import Outcome, outcome
from service.settings import STALL_TIMEOUT_S, Settings

INLINE_LABELS = 4096
"""Labels of a response that are written on the event loop; more would block it for milliseconds."""
INLINE_PROBABILITIES = 65_536
"""Probabilities of a request that are ranked on the event loop."""
PASSED_BEFORE = (
    "The deadline passed while the body was read; its images were not decoded. "
    "Try again, or allow more time."
)


class Classifier:
    """A loaded model and the pipeline in front of it.

    Args:
        artifact: Read and checked.
        engine: Warmed up.
        cost: The engine's measured times.
        settings: Limits.
        observers: Called for each batch and each image.
    """

    def __init__(
        self,
        artifact: Artifact,
        engine: Engine,
        cost: CostModel,
        settings: Settings,
        observers: Observers = NO_OBSERVERS,
    ) -> None:
        self.manifest = artifact.manifest
        self.engine = engine
        self.settings = settings
        self.loaded_at = time.time()
        self.info = ModelInfo(
            name=self.manifest.name,
            version=self.manifest.version,
            precision=engine.precision,
            provider=engine.provider,
        )
        self.info_json = self.info.model_dump_json().encode()
        self.trust = Trust(self.manifest, engine.precision, engine.optional)
        self.admission = Admission(cost, settings.max_in_flight, settings.deadline_s, POOLED_BYTES)
        self.batcher = Batcher(
            # no bound method: see `Batcher.stop`
            partial(_run, engine, self.trust.threshold, label_heads(self.manifest.labels)),
            cost,
            max_batch_size=settings.max_batch_size,
            on_batch=partial(observers.on_batch, self),
        )
        self.drift = Drift(self.manifest.labels, self.manifest.reference, settings.drift_window)
        self._on_image = observers.on_image
        spec, processes = self.manifest.preprocessing, settings.processes
        self._preprocessor = Preprocessor(
            spec,
            settings.max_pixels,
            processes,
            cost.update_decode,
            settings.child_timeout_s,
            settings.max_cores,
        )
        self._rendered: dict[str, bytes] = {}
        self._rendering = Finishing("drawn", settings.max_in_flight)
        self._serialising = Finishing("written", settings.max_in_flight)

    def start(self) -> None:
        """Start to serve; to be called on the event loop."""
        self.batcher.start()

    async def stop(self) -> None:
        """End the threads."""
        await self.batcher.stop()
        await asyncio.to_thread(self._preprocessor.stop)  # it may be busy, as the others may
        for pool in (self._rendering.pool, self._serialising.pool):
            await asyncio.to_thread(pool.shutdown)

    @property
    def in_flight(self) -> int:
        """Images that were admitted and are not answered yet."""
        return self.admission.in_flight + self._rendering.images + self._serialising.images

    @property
    def is_stalled(self) -> bool:
        """Whether a run takes far too long, or images wait and nothing runs them."""
        return self.batcher.stalled_s() > STALL_TIMEOUT_S

    def rendered(self, name: str, render: Callable[[], bytes]) -> bytes:
        """Cache what depends on the artifact alone, such as its drawing."""
        if name not in self._rendered:
            self._rendered[name] = render()
        return self._rendered[name]

    async def predict(
        self,
        payloads: Sequence[bytes],
        deadline: float,
        disconnect: Disconnect,
        options: PredictOptions = DEFAULT,
    ) -> Outcome:
        """Classify the image files of one request.

        Args:
            payloads: Whole files.
            deadline: On `time.perf_counter`'s clock.
            disconnect: Called if the client disconnects.
            options: What the client asks for beyond labels.

        Raises:
            ServiceError: The first refusal; see `service.errors`.
        """
        count, outputs = len(payloads), NO_OUTPUTS
        timeout_s = deadline - time.perf_counter()
        if timeout_s <= 0:
            raise DeadlineExceededError(PASSED_BEFORE)
        if options is not DEFAULT:
            self.trust.validate(options)
            outputs = options.outputs
            if options.draw:
                self._rendering.check(count, timeout_s)
        self.admission.acquire(count, timeout_s)
        try:
            prepared = await self._preprocessor.prepare(
                payloads, deadline, disconnect, self.admission.decode_slot
            )
            images = [image.pixels for image in prepared]
            answers = await self._infer(images, deadline, disconnect, outputs)
        finally:
            self.admission.release(count)
        self._observe(answers, prepared)
        return outcome(answers, prepared, deadline, disconnect)

    async def predict_tensors(
        self, images: Sequence[Pixels], deadline: float, disconnect: Disconnect
    ) -> Outcome:
        """Classify images that are the network's input already: uint8 (S, S, C) each.

        Raises:
            ServiceError: The first refusal; see `service.errors`.
        """
        timeout_s = deadline - time.perf_counter()
        if timeout_s <= 0:
            raise DeadlineExceededError(PASSED_BEFORE)
        self.admission.acquire(len(images), timeout_s)
        try:
            answers = await self._infer(images, deadline, disconnect)
        finally:
            self.admission.release(len(images))
        self._observe(answers, ())
        return outcome(answers, (), deadline, disconnect)

    def default_results(self, outcome: Outcome) -> bytes | None:
        """Give the results without options as JSON, between commas; None: `results` has to."""
        written = []
        for output in outcome.outputs:
            answers: BatchAnswers = output.batch_outputs
            if answers.default_results is None:
                return None
            written.append(answers.default_results[output.row])
        return b",".join(written)

    async def results(self, outcome: Outcome, options: PredictOptions = DEFAULT) -> list[Result]:
        """Write the result for each image; in a thread if that is much work.

        Maps are drawn one after another in one thread, so that other requests need not wait.
        Drawing stops at the deadline, and when the client disconnects.

        Raises:
            OverloadedError: If too many images wait for the same work.
            DeadlineExceededError: If the deadline passes first.
            ClientDisconnectedError: If the client disconnects first.
        """
        images, labels = len(outcome.outputs), len(self.manifest.labels)
        shown = labels if options.coverage is not None else min(options.top_k, labels)
        is_large = images * shown > INLINE_LABELS or images * labels > INLINE_PROBABILITIES
        if not options.draw and not is_large:
            return self._write(outcome, options)
        finishing = self._rendering if options.draw else self._serialising
        finishing.check(images, outcome.deadline - time.perf_counter())
        results = await finishing.run(images, partial(self._write, outcome, options))
        outcome.check_deadline(RENDERING if options.draw else SERIALISING)
        return results

    def _write(self, outcome: Outcome, options: PredictOptions) -> list[Result]:
        results = []
        for output, image in zip(outcome.outputs, outcome.prepared, strict=True):
            if options.draw:
                outcome.check_deadline(RENDERING)
            answers: BatchAnswers = output.batch_outputs
            results.append(self.trust.result(answers, output.row, image.size, options))
        return results

    async def _infer(
        self,
        images: Sequence[Pixels],
        deadline: float,
        disconnect: Disconnect,
        wanted: frozenset[str] = NO_OUTPUTS,
    ) -> list[ImageOutput]:
        """Wait for the engine, for the deadline, or for the client to disconnect."""
        if disconnect.disconnected:
            raise ClientDisconnectedError("The client disconnected before the answer.")
        if time.perf_counter() >= deadline:
            raise DeadlineExceededError(
                "The deadline passed while the images were decoded; they were not run. "
                "Try again, or allow more time."
            )
        request = self.batcher.submit(images, deadline, wanted)
        disconnect.leave_queue = request.cancel
        outputs = await request.wait()
        for index, output in enumerate(outputs):
            answers: BatchAnswers = output.batch_outputs
            if wanted or not answers.finite[output.row]:
                self.trust.check_finite(answers, output.row, index, wanted)
        return outputs

    def _observe(self, outputs: Sequence[ImageOutput], prepared: Sequence[PreparedImage]) -> None:
        """Add the answered images to the window of drift."""
        for index, output in enumerate(outputs):
            answers: BatchAnswers = output.batch_outputs
            row, flags = output.row, answers.in_distribution
            observation = Observation(
                answers.top[row],
                answers.confidence[row],
                UNKNOWN if flags is None else float(flags[row]),
                answers.brightness[row],
                min(prepared[index].size) if prepared else UNKNOWN,
            )
            self.drift.observe(observation)
            self._on_image(self.drift, observation)


def _run(
    engine: Engine,
    threshold: float | None,
    heads: Sequence[bytes],
    images: Pixels,
    outputs: Collection[str] = (),
) -> BatchAnswers:
    """Run one batch, and read its outputs for all of its images at once."""
    return read_batch(engine.run(images, outputs), images, threshold, heads)
