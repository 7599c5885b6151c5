"""How long the engine takes: measured once for each batch size, then followed in use.

Admission asks here how long a picture would wait, refusals how soon to come back, and
`GET /architecture` shows what was measured. Times in seconds.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from model.preprocessing import Pixels

RUNS = 5
"""Measured for each batch size; the median is kept. A slow size is measured once."""
SLOW_S = 0.25
SHORT_S = 0.016
"""Batches that take no longer are not cut, whether or not size makes a picture cheaper."""
GAIN = 0.1
"""Of two batch sizes the larger must make a picture cheaper by this share to be worth it.

A ResNet-50 on a processor's core gains 1.4 to 3.0 % by six measurements, which moves with each."""
FOLLOW = 0.1
"""Weight of the newest run in the moving rate."""


def batch_sizes(limit: int) -> tuple[int, ...]:
    """Powers of two up to the limit, and the limit itself."""
    powers = [1 << power for power in range(limit.bit_length())]
    return tuple(sorted({*(size for size in powers if size <= limit), limit}))


def measure(run: Callable[[Pixels], object], example: Pixels, sizes: Sequence[int]) -> "Plan":
    """Run each batch size, which also warms it up, and note how long it takes.

    Args:
        run: uint8 (N, S, S, C) -> anything.
        example: uint8 (S, S, C).
        sizes: Of the batches.
    """
    seconds = {}
    for size in sizes:
        batch = example[None].repeat(size, axis=0)
        run(batch)  # the first run of a size allocates its memory
        times: list[float] = []
        while len(times) < RUNS and sum(times) < SLOW_S:
            began = time.perf_counter()
            run(batch)
            times.append(time.perf_counter() - began)
        seconds[size] = median(times)
    return Plan(seconds)


class Plan:
    """What a batch of each size took, and what a picture takes at present.

    Args:
        seconds: For each measured batch size, ascending.
        instances: Batches that run side by side.
        on_loop: The event loop runs the batches itself.

    Attributes:
        threads: In each run.
    """

    def __init__(
        self, seconds: Mapping[int, float], instances: int = 1, *, on_loop: bool = False
    ) -> None:
        """Begin with the rate of the largest batch."""
        self.seconds = dict(seconds)
        self.instances = instances
        self.threads = 1
        self.on_loop = on_loop
        largest = max(self.seconds)
        self._per_image_s = self._first_per_image_s = self.seconds[largest] / largest
        self._lock = threading.Lock()

    @property
    def per_image_s(self) -> float:
        """Seconds for one more picture in a busy service, all instances together."""
        return self._per_image_s / self.instances

    def follow(self, images: int, seconds: float) -> None:
        """Note that an instance took so long for so many pictures, waiting for nothing."""
        with self._lock:
            self._per_image_s += FOLLOW * (seconds / images - self._per_image_s)

    def wait_s(self, ahead: int, *, is_idle: bool = False) -> float:
        """Tell how long the engine needs for the pictures ahead.

        Where nothing is under way, what was measured at the start counts: a rate that one
        slow run has spoilt could otherwise refuse every run that would mend it.
        """
        per_image_s = self._first_per_image_s / self.instances if is_idle else self.per_image_s
        return ahead * per_image_s

    def longest_within(self, seconds: float) -> int:
        """Give the largest measured batch that takes no longer; 0 if there is none."""
        return max((size for size, took in self.seconds.items() if took <= seconds), default=0)

    def worthwhile(self, limit: int) -> int:
        """Give the batch size beyond which pictures would only wait for each other.

        That is where a picture no longer gets cheaper: at once for a large network on a
        processor, late or never on a GPU. Short runs are not worth cutting.

        Args:
            limit: Given if nothing speaks against the largest size that was measured.
        """
        each = {size: took / size for size, took in self.seconds.items()}
        enough = (1 + GAIN) * min(each.values())
        cheap = min(size for size, seconds in each.items() if seconds <= enough)
        size = max(cheap, self.longest_within(SHORT_S))
        return limit if size == max(self.seconds) else min(size, limit)
