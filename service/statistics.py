"""Counters of one model in the words of the V2 protocol's statistics extension.

`service.telemetry` feeds them where it feeds Prometheus, on the event loop; they count
since this process loaded the model. With several workers each process has its own.
"""

import time

from service.answered import Answered
from service.schemas_v2 import BatchStats, Duration, InferenceStats, ModelStats

STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
NEVER = Duration(count=0, ns=0)


class Tally:
    """How often something happened, and how long it took together."""

    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        """Begin at nothing."""
        self.count, self.seconds = 0, 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.seconds += seconds

    def duration(self) -> Duration:
        """Give it as the protocol has it, in nanoseconds."""
        return Duration(count=self.count, ns=round(1e9 * self.seconds))


class Statistics:
    """What a model did since it was loaded."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.images = 0
        self.last_ms = 0
        self._stages = {stage: Tally() for stage in STAGES}
        self._batches: dict[int, Tally] = {}

    def ran(self, images: int, seconds: float) -> None:
        """Count a run of the engine."""
        self._batches.setdefault(images, Tally()).add(seconds)

    def answered(self, answered: Answered, output_s: float) -> None:
        """Count a request that was answered.

        Args:
            answered: What it got.
            output_s: What writing the answer took.
        """
        timings = answered.timings
        input_s = timings.decode + timings.preprocess
        self.images += len(answered.rides)
        self.last_ms = time.time_ns() // 1_000_000
        self._stages["queue"].add(timings.queue)
        self._stages["compute_input"].add(input_s)
        self._stages["compute_infer"].add(timings.infer)
        self._stages["compute_output"].add(output_s)
        self._stages["success"].add(timings.queue + input_s + timings.infer + output_s)

    def failed(self, seconds: float) -> None:
        """Count a request that was refused, for whatever reason."""
        self._stages["fail"].add(seconds)

    def report(self, name: str, version: str) -> ModelStats:
        """Give all counters, under the name that was asked for."""
        stages = {stage: tally.duration() for stage, tally in self._stages.items()}
        return ModelStats(
            name=name,
            version=version,
            last_inference=self.last_ms,
            inference_count=self.images,
            execution_count=sum(tally.count for tally in self._batches.values()),
            inference_stats=InferenceStats(**stages, cache_hit=NEVER, cache_miss=NEVER),
            batch_stats=[
                BatchStats(
                    batch_size=size,
                    compute_input=Duration(count=tally.count, ns=0),  # not known by batch
                    compute_infer=tally.duration(),
                    compute_output=Duration(count=tally.count, ns=0),
                )
                for size, tally in sorted(self._batches.items())
            ],
        )
