"""Counters of one model, by the stages of the V2 protocol's statistics extension.

`service.observability.metrics` updates them along with Prometheus' metrics, on the event loop. They
start when this process loads the model. With several workers each process has its own.
"""

import time
from collections import defaultdict

from service.registry.outcome import Answered

V2_STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


class Tally:
    """How often something happened, and how long it took together."""

    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.seconds += seconds


class Statistics:
    """What a model did since it was loaded.

    Attributes:
        batches: By the images in a batch.
    """

    def __init__(self) -> None:
        self.images = 0
        self.last_ms = 0
        self.stages = {stage: Tally() for stage in V2_STAGES}
        self.batches: defaultdict[int, Tally] = defaultdict(Tally)

    def record_batch(self, images: int, seconds: float) -> None:
        """Count a run of the engine."""
        self.batches[images].add(seconds)

    def record_request(self, answered: Answered, output_s: float) -> None:
        """Count a request that was answered.

        Args:
            answered: Its outputs and timings.
            output_s: What writing the answer took.
        """
        timings = answered.timings
        input_s = timings.decode + timings.preprocess
        self.images += len(answered.rides)
        self.last_ms = time.time_ns() // 1_000_000
        self.stages["queue"].add(timings.queue)
        self.stages["compute_input"].add(input_s)
        self.stages["compute_infer"].add(timings.infer)
        self.stages["compute_output"].add(output_s)
        self.stages["success"].add(timings.queue + input_s + timings.infer + output_s)

    def record_failure(self, seconds: float) -> None:
        """Count a request that failed or was rejected, for whatever reason."""
        self.stages["fail"].add(seconds)
