"""The corridor: decode, preprocess, batch, judge, rank. Alone knows the order.

One `answer` is one request. The engine runs in threads of its own, large pictures are
decoded in a pool. The deadline of a request is kept here.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import cast

from model.artifact.folder import Artifact
from model.artifact.histograms import brightness
from model.preprocessing import Pixels
from service.cancellation import Disconnect
from service.errors import ClientDisconnectedError, DeadlineExceededError, InferenceFailedError
from service.inference.batcher import Batcher
from service.inference.cost import Plan
from service.inference.engine import Engine, Outputs
from service.inference.request import Ride
from service.postprocessing.drift import Drift, Seen
from service.postprocessing.finishing import DRAWING, WRITING, Finishing
from service.postprocessing.ranking import rank
from service.postprocessing.schemas import ModelInfo, Result
from service.postprocessing.trust import PLAIN, Answer, Judgement, Wish
from service.preprocessing.prepare import Preparer, surely_for_pool
from service.registry.outcome import Answered, timings
from service.settings import STALL_TIMEOUT_S, Settings

SMALL_ANSWER = 4096
"""Labels that are ranked and written on the event loop; more would hold it up for milliseconds."""
SMALL_RANKING = 65_536
"""Probabilities of a request that are ranked there."""


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
            deadline_s=settings.deadline_ms / 1000,
        )
        self.info = ModelInfo(
            name=self.manifest.name,
            version=self.manifest.version,
            precision=engine.precision,
            provider=engine.provider,
        )
        self.judgement = Judgement(self.manifest, engine.precision, engine.optional)
        self.drift = Drift(self.manifest.labels, self.manifest.reference, settings.drift_window)
        spec, processes = self.manifest.preprocessing, settings.processes
        self._preparer = Preparer(spec, settings.max_pixels, processes, plan.follow_decoding)
        self._rendered: dict[str, bytes] = {}
        self._drawing = Finishing("drawn", settings.max_queue)
        self._writing = Finishing("written", settings.max_queue)

    def start(self) -> None:
        """Begin to answer; to be called on the event loop."""
        self.batcher.start()

    async def stop(self) -> None:
        """End the threads."""
        await self.batcher.stop()
        for pool in (
            self._preparer.pool,
            self._drawing.pool,
            self._writing.pool,
        ):  # they may be at work
            await asyncio.to_thread(pool.shutdown)

    @property
    def in_flight(self) -> int:
        """Pictures that were admitted and are not answered."""
        return self.batcher.under_way + self._drawing.images + self._writing.images

    @property
    def is_stalled(self) -> bool:
        """Whether a run has gone on for longer than any should, or who runs them is gone."""
        return self.batcher.busy_s() > STALL_TIMEOUT_S or self.batcher.has_lost_thread()

    def rendered(self, name: str, render: Callable[[], bytes]) -> bytes:
        """Give what only the artifact decides, such as a drawing of it; rendered once."""
        if name not in self._rendered:
            self._rendered[name] = render()
        return self._rendered[name]

    def check_admission(
        self, declared_length: str | None, patience_s: float | None, *, takes_files: bool = True
    ) -> None:
        """Refuse before a body is read for nothing what would be refused after it.

        Args:
            declared_length: The Content-Length header.
            patience_s: The client's deadline; the service's own is the upper limit.
            takes_files: Whether the body holds image files, not tensors.

        Raises:
            OverloadedError: Says when to come back.
            DeadlineExceededError: If coming back would not help.
        """
        for_pool = surely_for_pool(declared_length) if takes_files else 0
        self.batcher.refuse_overload(1, self.patience_s(patience_s), for_pool=for_pool)

    async def answer(
        self,
        payloads: Sequence[bytes],
        patience_s: float | None = None,
        disconnect: Disconnect | None = None,
        wish: Wish = PLAIN,
        received: float | None = None,
    ) -> Answered:
        """Answer the picture files of one request.

        Args:
            payloads: Whole files.
            patience_s: The client's deadline; the service's own is the upper limit.
            disconnect: Is called if the client disconnects.
            wish: What is wanted beyond labels.
            received: When the body was whole, on `time.perf_counter`'s clock; None: now.

        Raises:
            ServiceError: The first refusal; see `service.errors`.
        """
        self.judgement.refuse_impossible(wish)
        deadline, left_s = self._deadline(patience_s, received)
        disconnect = disconnect or Disconnect()
        if wish.draw:
            self._drawing.refuse_overload(len(payloads), left_s)
        with self.batcher.admit(len(payloads), left_s):
            ready = await self._preparer.prepare(
                payloads, left_s, disconnect, self.batcher.decoding
            )
            images = [picture.pixels for picture in ready]
            rides = await self._ride(images, deadline, disconnect, wish.outputs)
        decode_s = sum(picture.decode_s for picture in ready)
        preprocess_s = sum(picture.preprocess_s for picture in ready)
        light = [picture.brightness for picture in ready]
        sides = [min(picture.sent) for picture in ready]
        self.drift.observe(map(self._seen, rides, light, sides))
        return Answered(rides, timings(rides, decode_s, preprocess_s), ready, deadline, disconnect)

    async def answer_tensors(
        self,
        images: Sequence[Pixels],
        patience_s: float | None = None,
        disconnect: Disconnect | None = None,
        received: float | None = None,
    ) -> Answered:
        """Answer pictures that are the network's input already: uint8 (S, S, C) each.

        Raises:
            ServiceError: The first refusal; see `service.errors`.
        """
        deadline, left_s = self._deadline(patience_s, received)
        disconnect = disconnect or Disconnect()
        with self.batcher.admit(len(images), left_s):
            rides = await self._ride(images, deadline, disconnect)
        self.drift.observe(map(self._seen, rides, map(brightness, images), repeat(None)))
        return Answered(rides, timings(rides, 0.0, 0.0), (), deadline, disconnect)

    def _deadline(self, wanted_s: float | None, received: float | None) -> tuple[float, float]:
        """Give the deadline on `time.perf_counter`'s clock, and the seconds left until then.

        Raises:
            DeadlineExceededError: If there are none.
        """
        now = time.perf_counter()
        deadline = (now if received is None else received) + self.patience_s(wanted_s)
        if deadline <= now:
            raise DeadlineExceededError(
                "The deadline passed while the body was read; its images were not decoded. "
                "Try again, or allow more time."
            )
        return deadline, deadline - now

    def patience_s(self, wanted_s: float | None) -> float:
        """Give a request's deadline in seconds: the client's, or the service's if that is less."""
        limit_s = self.settings.deadline_ms / 1000
        return limit_s if wanted_s is None else min(wanted_s, limit_s)

    async def results(self, answered: Answered, top_k: int, wish: Wish = PLAIN) -> list[Result]:
        """Write the answer for each picture; beside the event loop where that is much work.

        Layers are drawn one after the other in a thread of their own, so that nobody else's
        picture waits for them; what is not drawn by the deadline never is, nor for who has left.

        Raises:
            OverloadedError: If too many wait for the same.
            DeadlineExceededError: If the deadline came first.
            ClientDisconnectedError: If the client left first.
        """
        images, labels = len(answered.rides), len(self.manifest.labels)
        count = top_k if wish.coverage is None else labels
        write = partial(self._write, answered, top_k, count, wish)
        is_large = images * min(count, labels) > SMALL_ANSWER or images * labels > SMALL_RANKING
        if not wish.draw and not is_large:
            return write()
        finishing = self._drawing if wish.draw else self._writing
        finishing.refuse_overload(images, answered.deadline - time.perf_counter())
        results = await finishing.run(images, write)
        answered.refuse_late(DRAWING if wish.draw else WRITING)
        return results

    def _write(self, answered: Answered, top_k: int, count: int, wish: Wish) -> list[Result]:
        results = []
        for ride, picture in zip(answered.rides, answered.ready, strict=True):
            if wish.draw:
                answered.refuse_late(DRAWING)
            answer = Answer(cast(Outputs, ride.rows), ride.place, picture.sent)
            ranked = rank(ride.probabilities, self.manifest.labels, count)
            results.append(self.judgement.result(answer, ranked, top_k, wish))
        return results

    def _seen(self, ride: Ride, light: float, side: int | None) -> Seen:
        top = int(ride.probabilities.argmax())
        return Seen(
            label=top,
            confidence=float(ride.probabilities[top]),
            in_distribution=self.judgement.is_ordinary(cast(Outputs, ride.rows), ride.place),
            brightness=light,
            side=side,
        )

    async def _ride(
        self,
        images: Sequence[Pixels],
        deadline: float,
        disconnect: Disconnect,
        extras: frozenset[str] = frozenset(),
    ) -> list[Ride]:
        """Wait for the engine, for the deadline, or for the client to leave."""
        left_s = deadline - time.perf_counter()
        if disconnect.disconnected:
            raise ClientDisconnectedError("The client closed the connection before the answer.")
        if left_s <= 0:
            raise DeadlineExceededError(
                "The deadline passed while the images were decoded; they were not run. "
                "Try again, or allow more time."
            )
        submission = self.batcher.submit(images, deadline, extras)
        disconnect.leave_queue = submission.leave
        rides = await submission.in_time()
        for index, ride in enumerate(rides):
            if not self.judgement.is_finite(cast(Outputs, ride.rows), ride.place, extras):
                raise InferenceFailedError(
                    "The network's answer holds numbers that are not finite. Try another image.",
                    index=index,
                )
        return rides
