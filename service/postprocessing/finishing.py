"""Slow work after the engine: drawing maps, and writing many labels.

Each kind has its own thread and limit, so that no other request waits for it. Images that wait here
do not count among those that wait for the engine.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from service.inference.admission import finishing_full, finishing_too_late
from service.inference.cost import ema
from service.threads import started_pool

T = TypeVar("T")
RENDERING = (
    "the maps were drawn. Allow more time, send fewer or smaller images, or use "
    "`explain=true`, which has only numbers."
)
SERIALISING = "the answer was written. Allow more time, or ask for fewer labels."


class Finishing:
    """One kind of work after the engine; its methods are for the event loop.

    Args:
        work: In messages, what happens to an image: `drawn`, `written`.
        max_images: Limit of the images that wait.

    Attributes:
        images: In requests that were admitted and are not finished.
        pool: The thread.
    """

    def __init__(self, work: str, max_images: int) -> None:
        self.images = 0
        self.pool = started_pool(1, work)
        self._work = work
        self._max_images = max_images
        self._image_s = 0.0  # moving mean

    def check(self, count: int, left_s: float) -> None:
        """Reject images before the engine runs them, if they would be finished too late.

        With nothing waiting none is rejected, so that a wrong estimate can be corrected.

        Args:
            count: Images of the request.
            left_s: Seconds until its deadline.

        Raises:
            OverloadedError: With the time after which to retry.
        """
        waiting, need_s = self.images, (self.images + count) * self._image_s
        if not waiting:
            return
        if (beyond := waiting + count - self._max_images) > 0:
            raise finishing_full(waiting, self._work, self._max_images, beyond * self._image_s)
        if need_s > left_s:
            raise finishing_too_late(waiting, self._work, need_s, left_s)

    @contextmanager
    def occupy(self, count: int) -> Iterator[None]:
        """Count images while they wait and are worked on."""
        self.images += count
        try:
            yield
        finally:
            self.images -= count

    async def run(self, count: int, work: Callable[[], T]) -> T:
        """Do the work for `count` images in the thread."""

        def timed() -> T:
            began = time.perf_counter()
            try:
                return work()
            finally:
                self._image_s = ema(self._image_s, (time.perf_counter() - began) / count)

        with self.occupy(count):
            return await asyncio.get_running_loop().run_in_executor(self.pool, timed)
