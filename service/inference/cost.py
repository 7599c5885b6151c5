"""How long the engine and the decode pool take: measured at the start, updated in use.

Admission asks here how long an image would wait and when a client shall try again;
`GET /architecture` shows what was measured. Times in seconds.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from model.preprocessing import Pixels

RUNS = 3
"""Measured for each batch size after a first one; the shortest is kept. Fewer of a size whose runs
took `SLOW_S` together: long runs vary less, and the start waits for them."""
SLOW_S = 0.01
SHORT_S = 0.016
"""Batches that take no longer are not cut, whether or not size makes an image cheaper."""
MIN_BATCH_GAIN = 0.1
"""Of two batch sizes the larger must make an image cheaper by this share to be worth it.

A ResNet-50 on a processor's core gains 1.4 to 3.0 % by six measurements, which moves with each."""
EMA_WEIGHT = 0.1
"""Weight of the newest run, or of the newest decoded image, in the moving average."""
OUTLIER = 10
"""A run that takes more than this many times the average counts as this many: a machine that was
suspended or throttled for a moment must not refuse what comes after."""
FIRST_S = 1.0
"""The first value counts no more than this: there is no average yet to compare it with."""
TRUST_S = 30.0
"""After so long without a run an idle engine is tried, whatever was measured before."""
DECODE_SAFETY = 1.5
"""Decoding may take this many times its mean: files differ in cost, and an image that is admitted
at the last moment is decoded for nothing. At four times a simulated pool's rate, with files that
differ by as much as their mean, 1.0 left 0.75 of what it can answer, 1.25 0.90, this 0.95."""


def batch_sizes(limit: int) -> tuple[int, ...]:
    """Powers of two up to the limit, and the limit itself."""
    powers = [1 << power for power in range(limit.bit_length())]
    return tuple(sorted({*(size for size in powers if size <= limit), limit}))


def measure(
    run: Callable[[Pixels], object], example: Pixels, sizes: Sequence[int]
) -> dict[int, float]:
    """Run each batch size, which also warms it up; give the seconds that each takes.

    Args:
        run: uint8 (N, S, S, C) -> anything.
        example: uint8 (S, S, C).
        sizes: Of the batches.
    """
    seconds = {}
    for size in sizes:
        batch = example[None].repeat(size, axis=0)
        first_s = _timed(run, batch)  # allocates memory, so it is no measure of the others
        times: list[float] = []
        while len(times) < RUNS and sum(times) < SLOW_S:
            times.append(_timed(run, batch))
        seconds[size] = min(first_s, *times)  # what else ran meanwhile can only lengthen a run
    return seconds


def _timed(run: Callable[[Pixels], object], batch: Pixels) -> float:
    began = time.perf_counter()
    run(batch)
    return time.perf_counter() - began


def ema(mean_s: float, seen_s: float) -> float:
    """Move an exponential moving average towards a new value; an outlier counts for less.

    Args:
        mean_s: 0 if there is none yet.
        seen_s: The new value.
    """
    if not mean_s:
        return min(seen_s, FIRST_S)
    return mean_s + EMA_WEIGHT * (min(seen_s, OUTLIER * mean_s) - mean_s)


class CostModel:
    """What a batch of each size took when it was measured, and what an image takes at present.

    Args:
        seconds: For each measured batch size, ascending.
        instances: Batches that run side by side.
        threads: In each run.
        inline: Whether the event loop runs the batches itself.

    Attributes:
        shortest_s: The shortest run so far.
    """

    def __init__(
        self,
        seconds: Mapping[int, float],
        instances: int = 1,
        threads: int = 1,
        *,
        inline: bool = False,
    ) -> None:
        self.seconds = dict(seconds)
        self.instances = instances
        self.threads = threads
        self.inline = inline
        self.shortest_s = min(self.seconds.values())
        # the cheapest of the measured sizes: one bad measurement is outvoted
        self._per_image_s = min(took / size for size, took in self.seconds.items())
        self._best_per_image_s = self._per_image_s
        self._decode_s = 0.0  # for one more image, all threads of the pool together
        self._confirmed_at = time.perf_counter()

    @property
    def per_image_s(self) -> float:
        """Seconds for one more image in a busy service, all instances together."""
        return self._per_image_s / self.instances

    def is_credible(self, deadline_s: float) -> bool:
        """Tell whether an idle service may refuse a deadline by these times.

        Not if nothing has run for a while, or if one image alone would take longer than any
        request is given: no run would ever correct times that were measured at a bad moment.

        Args:
            deadline_s: The longest that a request can have.
        """
        is_fresh = time.perf_counter() - self._confirmed_at < TRUST_S
        return is_fresh and self.estimate_wait_s(1, is_idle=True) <= deadline_s

    def update(self, images: int, seconds: float) -> None:
        """Learn that an instance took so long for so many images; called on the event loop."""
        each_s = seconds / images
        mean_s = min(self._per_image_s, OUTLIER * each_s)  # falls faster than it rises
        self._per_image_s = ema(mean_s, each_s)
        self._best_per_image_s = min(self._best_per_image_s, each_s)
        self.shortest_s = min(self.shortest_s, seconds)  # it may have been measured while busy
        self._confirmed_at = time.perf_counter()

    def update_decode(self, seconds: float, threads: int) -> None:
        """Learn that a thread of the decode pool took so long for an image; in any thread.

        Of two threads at the same moment one value may be lost, which an average survives.
        """
        self._decode_s = ema(self._decode_s, seconds / threads)

    def estimate_wait_s(self, ahead: int, decoding: int = 0, *, is_idle: bool = False) -> float:
        """Estimate how long it takes until the images ahead have run; at least one run.

        The pool decodes while the engine runs, so the slower of both counts, and after the pool
        the run of what it decoded last.

        Where nothing is in flight, the best rate so far counts: a rate that slow runs have
        spoilt could otherwise refuse every run that would correct it.

        Args:
            ahead: Images for the engine, whether they are decoded yet or not.
            decoding: Images that the pool has yet to decode.
            is_idle: Nothing else is in flight.
        """
        per_image_s = self._best_per_image_s if is_idle else self._per_image_s
        run_s = max(ahead * per_image_s / self.instances, self.shortest_s)
        if not decoding:
            return run_s
        return max(run_s, DECODE_SAFETY * decoding * self._decode_s + self.shortest_s)

    def largest_batch_within(self, seconds: float) -> int:
        """Give the largest measured batch that takes no longer; 0 if there is none."""
        return max((size for size, took in self.seconds.items() if took <= seconds), default=0)

    def best_batch_size(self, limit: int) -> int:
        """Give the batch size beyond which images would only wait for each other.

        That is where an image no longer gets cheaper: at once for a large network on a
        processor, late or never on a GPU. Short runs are not worth cutting.

        Args:
            limit: Given if nothing speaks against the largest size that was measured.
        """
        each = {size: took / size for size, took in self.seconds.items()}
        enough = (1 + MIN_BATCH_GAIN) * min(each.values())
        cheap = min(size for size, seconds in each.items() if seconds <= enough)
        size = max(cheap, self.largest_batch_within(SHORT_S))
        return limit if size == max(self.seconds) else min(size, limit)
