"""A replica as a batch-service queue, simulated event by event.

Requests of one image arrive by chance (Poisson). A runner that is free takes all that wait, up to
the limit, and answers them together: M/G(b)/c with the policy of `service.inference.batcher`. Work
takes its cost and, now and then, a stall as it was measured (`Replica.stalls`).
It knows times alone; `service.capacity.plan` asks it at which rate a percentile is met.

Source:
    Inoue, "Queueing Analysis of GPU-Based Inference Servers with Dynamic Batching: A Closed-Form
    Characterization", Performance Evaluation 2021 (arXiv 1912.06322). Its closed form bounds the
    mean without a limit of the batch; percentiles, limits and deadlines need the simulation.
"""

import math
from collections import deque
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.capacity.cost import Cost

Seconds = NDArray[np.float64]
WARM_UP = 0.1
"""Share of the requests that are simulated and not counted, since the first ones find no queue."""
STALLS_SEED = 1
"""Apart from the arrivals': with one seed they would depend on each other."""


class Replica(NamedTuple):
    """What is simulated.

    Attributes:
        cost: Of a batch, with all that the replica does for its requests.
        max_batch_size: Images that a runner takes at once.
        runners: Batches that run side by side.
        max_in_flight: A request that finds so many unanswered is refused.
        deadline_s: A request that has waited longer is not run.
        idle_s: What a batch that begins on an idle runner costs beyond others: caches are cold.
        stalls: What batches of one image took beyond their cost, in seconds, one measurement each;
            empty: nothing. They are drawn again by chance, one for the time that such a batch
            takes, so that a longer batch has more of them.
    """

    cost: Cost
    max_batch_size: int
    runners: int = 1
    max_in_flight: float = math.inf
    deadline_s: float = math.inf
    idle_s: float = 0.0
    stalls: tuple[float, ...] = ()

    @property
    def capacity(self) -> float:
        """Images a second in full batches; no queue is stable at this rate."""
        took_s = self.cost.seconds(self.max_batch_size)
        if self.stalls:
            took_s *= 1 + sum(self.stalls) / len(self.stalls) / self.cost.seconds(1)
        return self.runners * self.max_batch_size / took_s


class Simulated(NamedTuple):
    """What came of the requests.

    Attributes:
        latencies: From arrival to answer, in seconds, of those that were answered.
        refused: Share that found the queue full, or whose deadline passed there.
        batch_size: Mean, of batches.
        busy: Share of the time that a runner ran.
        in_flight: Mean number of requests that are not yet answered.
    """

    latencies: Seconds
    refused: float
    batch_size: float
    busy: float
    in_flight: float

    def percentile_s(self, percent: float) -> float:
        """A percentile of the latencies."""
        return float(np.percentile(self.latencies, percent))

    @property
    def mean_s(self) -> float:
        """Of the latencies."""
        return float(self.latencies.mean())


def simulate(replica: Replica, rate: float, *, requests: int = 20_000, seed: int = 0) -> Simulated:
    """Let requests arrive by chance.

    The same seed gives the same arrivals at every rate, only denser: so results of two rates
    differ by the rate and not by chance.

    Args:
        replica: What serves them.
        rate: Requests a second, on average.
        requests: That arrive, in all.
        seed: Of the arrivals.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, requests)
    return serve(replica, np.cumsum(gaps))


def serve(replica: Replica, arrivals: Seconds) -> Simulated:
    """Serve requests that arrive at these moments, ascending."""
    return _Queue(replica).serve(arrivals)


class _Durations:
    """What batches take, one after another.

    Args:
        replica: What runs them.
        images: In all batches together, at most.
    """

    def __init__(self, replica: Replica, images: int) -> None:
        self._cost, self._unit_s = replica.cost, replica.cost.seconds(1)
        drawn = np.random.default_rng(STALLS_SEED).choice(replica.stalls or (0.0,), images + 1)
        # seconds of stalls after so many units of work
        self._stalled: list[float] = [0.0, *np.cumsum(drawn).tolist()]
        self._worked = 0.0  # in units; no batch takes more of them than it has images

    def take(self, images: int) -> float:
        """Return the seconds of the next batch."""
        cost_s, before = self._cost.seconds(images), int(self._worked)
        self._worked += cost_s / self._unit_s
        return cost_s + self._stalled[int(self._worked)] - self._stalled[before]


class _Queue:
    """The state of a simulation: who waits, and when runners are free."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._waiting: deque[float] = deque()  # times of arrival
        self._running: list[tuple[float, int]] = []  # heap: end of a batch, its images
        self._in_flight = 0
        self._latencies: list[tuple[float, float]] = []  # arrival, latency
        self._refused: list[float] = []  # arrivals
        self._batches: list[tuple[float, int, float]] = []  # start, images, seconds

    def serve(self, arrivals: Seconds) -> Simulated:
        """Serve requests in the order of their arrival."""
        self._durations = _Durations(self._replica, len(arrivals))
        for now in arrivals.tolist():
            if self._running and self._running[0][0] <= now:
                self._advance(now)
            if self._in_flight >= self._replica.max_in_flight:
                self._refused.append(now)
                continue
            self._waiting.append(now)
            self._in_flight += 1
            if len(self._running) < self._replica.runners:
                self._start(now, self._replica.idle_s)
        self._advance(math.inf)
        return self._counted(arrivals)

    def _advance(self, until: float) -> None:
        """End the batches that end by then; each runner takes what waits."""
        while self._running and self._running[0][0] <= until:
            ended, images = heappop(self._running)
            self._in_flight -= images
            self._start(ended)

    def _start(self, now: float, extra_s: float = 0.0) -> None:
        """Run what waits; those that have waited for too long are refused."""
        replica, batch = self._replica, list[float]()
        while self._waiting and len(batch) < replica.max_batch_size:
            arrival = self._waiting.popleft()
            if now - arrival <= replica.deadline_s:
                batch.append(arrival)
            else:
                self._refused.append(arrival)
                self._in_flight -= 1
        if batch:
            took_s = self._durations.take(len(batch)) + extra_s
            end = now + took_s
            self._latencies += [(arrival, end - arrival) for arrival in batch]
            self._batches.append((now, len(batch), took_s))
            heappush(self._running, (end, len(batch)))

    def _counted(self, arrivals: Seconds) -> Simulated:
        """Leave out the first requests, and the last ones, after which none come."""
        begin, end = arrivals[int(WARM_UP * len(arrivals))], arrivals[-1]
        latencies = np.array([took for arrival, took in self._latencies if arrival >= begin])
        refused = sum(arrival >= begin for arrival in self._refused)
        counted = [each for each in self._batches if begin <= each[0] <= end]
        busy_s = sum(took_s for _, _, took_s in counted)
        span_s = end - begin
        return Simulated(
            latencies,
            refused / (refused + len(latencies)),
            float(np.mean([images for _, images, _ in counted])),
            min(1.0, float(busy_s / span_s) / self._replica.runners),
            float(latencies.sum()) / span_s,
        )
