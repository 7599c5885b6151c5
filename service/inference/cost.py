"""How long the engine and the decode pool take: measured, then followed in use.

Admission asks here how long a picture would wait, refusals how soon to come back, and
`GET /architecture` shows what was measured. Times in seconds.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy

from model.preprocessing import Pixels

RUNS = 5
"""Measured for each batch size after a first one; the shortest is kept. A slow size is measured
once."""
SLOW_S = 0.25
SHORT_S = 0.016
"""Batches that take no longer are not cut, whether or not size makes a picture cheaper."""
GAIN = 0.1
"""Of two batch sizes the larger must make a picture cheaper by this share to be worth it.

A ResNet-50 on a processor's core gains 1.4 to 3.0 % by six measurements, which moves with each."""
FOLLOW = 0.1
"""Weight of the newest run, or picture decoded, in the moving rate."""
OUTLIER = 10
"""A run that takes more than this many times the rate counts as this many: a machine that was
suspended or throttled for a moment must not refuse what comes after."""
FIRST_S = 1.0
"""The first that is seen counts no more than this: there is no rate yet to hold it against."""
TRUST_S = 30.0
"""After so long without a run an idle engine is tried, whatever was measured before."""
PRUDENCE = 1.5
"""What decoding may take of its mean: no two files cost the same, and who is let in to wait to
the last moment is decoded for nothing. At four times a simulated pool's rate, with files that
differ by as much as their mean, 1.0 left 0.75 of what it can answer, 1.25 0.90, this 0.95."""


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
        first_s = _timed(run, batch)  # allocates memory, so it is no measure of the others
        times: list[float] = []
        while len(times) < RUNS and sum(times) < SLOW_S:
            times.append(_timed(run, batch))
        seconds[size] = min(first_s, *times)  # what else ran meanwhile can only lengthen a run
    return Plan(seconds)


def _timed(run: Callable[[Pixels], object], batch: Pixels) -> float:
    began = time.perf_counter()
    run(batch)
    return time.perf_counter() - began


def followed(rate_s: float, seen_s: float) -> float:
    """Move a rate towards what was just seen, in seconds each; an outlier counts for less.

    Args:
        rate_s: 0 if nothing was seen yet.
        seen_s: Now.
    """
    if not rate_s:
        return min(seen_s, FIRST_S)
    return rate_s + FOLLOW * (min(seen_s, OUTLIER * rate_s) - rate_s)


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
        """Begin with the cheapest of the measured sizes: one bad measurement is outvoted."""
        self.seconds = dict(seconds)
        self.shortest_s = min(self.seconds.values())
        self.instances = instances
        self.threads = 1
        self.on_loop = on_loop
        self._per_image_s = min(took / size for size, took in self.seconds.items())
        self._best_per_image_s = self._per_image_s
        self._decode_s = 0.0  # for one more picture, all threads of the pool together
        self._confirmed_at = time.perf_counter()
        self._lock = threading.Lock()

    def again(self) -> "Plan":
        """Give what is known of these runs to another model of the same kind."""
        plan = copy(self)
        plan._lock = threading.Lock()
        return plan

    @property
    def per_image_s(self) -> float:
        """Seconds for one more picture in a busy service, all instances together."""
        return self._per_image_s / self.instances

    def is_credible(self, deadline_s: float) -> bool:
        """Tell whether an idle service may refuse a deadline by these times.

        Not if nothing has run for a while, or if one picture alone would take longer than any
        request is given: refused by times from a bad moment, no run would ever mend them.

        Args:
            deadline_s: The longest that a request can have.
        """
        is_fresh = time.perf_counter() - self._confirmed_at < TRUST_S
        return is_fresh and self.wait_s(1, is_idle=True) <= deadline_s

    def follow(self, images: int, seconds: float) -> None:
        """Note that an instance took so long for so many pictures, waiting for nothing."""
        each_s = seconds / images
        with self._lock:
            rate_s = min(self._per_image_s, OUTLIER * each_s)  # it heals sooner than it spoils
            self._per_image_s = followed(rate_s, each_s)
            self._best_per_image_s = min(self._best_per_image_s, each_s)
            self.shortest_s = min(self.shortest_s, seconds)  # the start may have had a bad moment
            self._confirmed_at = time.perf_counter()

    def follow_decoding(self, seconds: float, threads: int) -> None:
        """Note that a thread of the pool took so long for a picture."""
        with self._lock:
            self._decode_s = followed(self._decode_s, seconds / threads)

    def wait_s(self, ahead: int, undecoded: int = 0, *, is_idle: bool = False) -> float:
        """Tell how long it takes until the pictures ahead have run, or at the least one run.

        The pool decodes while the engine runs, so the slower of both counts, and after the pool
        the run of what it decoded last.

        Where nothing is under way, the best that was ever seen counts: a rate that slow runs
        have spoilt could otherwise refuse every run that would mend it.

        Args:
            ahead: Pictures for the engine, whether they are decoded yet or not.
            undecoded: Pictures that the pool has yet to decode.
            is_idle: Nothing else is under way.
        """
        per_image_s = self._best_per_image_s / self.instances if is_idle else self.per_image_s
        run_s = max(ahead * per_image_s, self.shortest_s)
        if not undecoded:
            return run_s
        return max(run_s, PRUDENCE * undecoded * self._decode_s + self.shortest_s)

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
