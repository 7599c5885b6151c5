"""What is done with outputs after the engine and takes long: drawing, and writing many labels.

Each kind has one thread and a bound of its own, so that no other request waits for it: images
that wait here do not wait for the engine, and are not counted among those that do.
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
    "the maps were drawn. Allow more time, send fewer or smaller images, or ask for "
    "`explain=true`, whose map is numbers alone."
)
SERIALISING = "the answer was written. Allow more time, or ask for fewer labels."


class Finishing:
    """One kind of work after the engine; its methods belong to the event loop.

    Args:
        work: What is done to an image: `drawn`, `written`.
        max_images: That may wait for it.

    Attributes:
        images: In requests that were admitted and are not finished.
        pool: The thread.
    """

    def __init__(self, work: str, max_images: int) -> None:
        """Start the thread."""
        self.images = 0
        self.pool = started_pool(1, work)
        self._work = work
        self._max_images = max_images
        self._image_s = 0.0  # moving mean

    def check(self, count: int, left_s: float) -> None:
        """Refuse images before the engine runs them, if they would be finished too late.

        Where no other image waits none is refused: whatever was measured has to be able to heal.

        Args:
            count: Images of the request.
            left_s: Seconds until its deadline.

        Raises:
            OverloadedError: Says when to come back.
        """
        waiting, need_s = self.images, (self.images + count) * self._image_s
        if not waiting:
            return
        if (beyond := waiting + count - self._max_images) > 0:
            raise finishing_full(waiting, self._work, self._max_images, beyond * self._image_s)
        if need_s > left_s:
            raise finishing_too_late(waiting, self._work, need_s, left_s)

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Count images for as long as they are to be finished."""
        self.images += count
        try:
            yield
        finally:
            self.images -= count

    async def run(self, count: int, work: Callable[[], T]) -> T:
        """Do the work for so many images in the thread."""

        def timed() -> T:
            began = time.perf_counter()
            try:
                return work()
            finally:
                self._image_s = ema(self._image_s, (time.perf_counter() - began) / count)

        with self.hold(count):
            return await asyncio.get_running_loop().run_in_executor(self.pool, timed)
