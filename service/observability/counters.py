"""Counters of one model, by the stages of the V2 protocol's statistics extension.

`service.observability.metrics` updates them along with Prometheus' metrics, on the event loop. They
start when this process loads the model. With several workers each process has its own.
"""

import time
from collections import defaultdict

from service.registry.outcome import Outcome


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
        requests: That were answered.
        queue_s: What they spent in the queue together; likewise of the other stages.
        failures: Requests that failed.
        batches: By the images in a batch.
    """

    def __init__(self) -> None:
        self.images = 0
        self.last_ms = 0
        self.requests = 0
        self.queue_s = self.input_s = self.infer_s = self.output_s = 0.0
        self.failures = Tally()
        self.batches: defaultdict[int, Tally] = defaultdict(Tally)

    def record_request(self, outcome: Outcome, output_s: float) -> None:
        """Count a request that was answered.

        Args:
            outcome: Its outputs and timings.
            output_s: What writing the answer took.
        """
        timings = outcome.timings
        self.images += len(outcome.outputs)
        self.requests += 1
        self.last_ms = time.time_ns() // 1_000_000
        self.input_s += timings.decode + timings.preprocess
        self.queue_s += timings.queue
        self.infer_s += timings.infer
        self.output_s += output_s

    def record_failure(self, seconds: float) -> None:
        """Count a request that failed or was rejected, for whatever reason."""
        self.failures.add(seconds)
