"""What a replica's batches take on this machine, with all that the service does for a request.

The network is not the only cost: with a small one HTTP, decoding and Python take longer than the
engine. So the service itself is started and asked on more and more connections. Processor time
counts, not the clock's: it is the same whatever else the machine does. What the clock adds to it
now and then (a core that slept, an interrupt, the machine beneath a virtual one) is measured with
lone requests.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

import numpy as np

from service.capacity.client import Client
from service.capacity.cost import Fit
from service.capacity.service_process import ServiceProcess, started
from service.errors import StartError

ROUNDS, ROUND_S = 3, 0.3
MIN_BATCHES = 8
"""Of each point, so that the mean of their sizes means something."""
MAX_CONNECTIONS = 128
LONE_S = 10.0
"""For lone requests: with a small network stalls of one in a hundred are seen often enough."""


class Measured(NamedTuple):
    """A replica on this machine.

    Attributes:
        fit: Of a batch, to the processor time of the service.
        engine: Of a batch, to the times of the engine alone that the service measured at its start.
        runners: Batches that run side by side.
        max_batch_size: That the service uses for this network here.
        idle_s: What a batch that begins on an idle runner costs beyond others.
        round_trip_s: What a lone request takes beyond its batch: the network and the client.
            Median.
        stalls: How much longer each lone request took than the median; of some, how much shorter.
        core_share: Of its cores, what the service got when it was asked for all that it can.
        model: Name, version, precision, provider.
    """

    fit: Fit
    engine: Fit
    runners: int
    max_batch_size: int
    round_trip_s: float
    core_share: float
    model: Mapping[str, str]
    idle_s: float = 0.0
    stalls: tuple[float, ...] = ()

    @property
    def stall_p99_s(self) -> float:
        """The stall that one of a hundred requests exceeds."""
        return float(np.percentile(self.stalls or (0.0,), 99))


class _Point(NamedTuple):
    """One round with so many connections."""

    batch_size: float  # mean
    cpu_s: float  # of a batch
    cores: float  # that it used
    latencies: list[float]


def measure(settings: Mapping[str, object], image: bytes, cores: int) -> Measured:
    """Start a service, ask it, and end it.

    Args:
        settings: Of the service: its artifact, and what is not to be read from the environment.
        image: A file as clients send it.
        cores: Of the replica.

    Raises:
        StartError: If there are fewer cores here, the service does not start or answer, or its
            engine is not a processor.
    """
    usable = sorted(os.sched_getaffinity(0))
    if cores > len(usable):
        raise StartError(
            f"--cores (={cores}) must be at most {len(usable)}, the usable cores of "
            "this machine, because a replica is measured as it will run."
        )
    with started(settings, usable[:cores]) as service:
        return measure_running(service, image, cores)


def measure_running(service: ServiceProcess, image: bytes, cores: int) -> Measured:
    """Measure a service that runs already, on so many cores of its own.

    Args:
        service: Nobody else may ask it meanwhile.
        image: A file as clients send it.
        cores: That it may use.

    Raises:
        StartError: If it refuses the image, has ended, or its engine is not a processor.
    """
    client = Client(service.port, image)
    about = service.architecture()
    if about["model"]["provider"] != "cpu":
        raise StartError(
            f"The service runs on {about['model']['provider']}, but the plan measures "
            "processor time, which its batches do not take. Set RESNET_PROVIDER=cpu "
            "to plan for CPUs."
        )
    serving = about["serving"]
    runners, threads, limit = (serving[name] for name in ("instances", "threads", "max_batch_size"))
    most = min(2 * limit * runners, MAX_CONNECTIONS)
    levels = [1 << power for power in range(most.bit_length())]
    alone_s = min(asyncio.run(client.ask(1, ROUND_S)))  # and what is paid once is paid
    round_s = max(ROUND_S, MIN_BATCHES * alone_s)
    rounds = [[_ask(service, client, level, round_s) for level in levels] for _ in range(ROUNDS)]
    points = [point for each in rounds for point in each]
    fit = Fit.to(
        [point.batch_size for point in points], [point.cpu_s / threads for point in points]
    )
    lone = _ask(service, client, 1, LONE_S, pause_s=alone_s)
    usual_s = median(lone.latencies)
    after_idle_s = max(fit.cost.seconds(1), lone.cpu_s / threads)
    engine = [(each["images"], each["ms"] / 1000) for each in serving["batches"]]
    return Measured(
        fit,
        Fit.to(*zip(*engine, strict=True)),
        runners,
        limit,
        max(0.0, usual_s - after_idle_s),
        max(point.cores for point in points) / cores,
        about["model"],
        after_idle_s - fit.cost.seconds(1),
        tuple(each - usual_s for each in lone.latencies),
    )


def _ask(
    service: ServiceProcess, client: Client, connections: int, seconds: float, pause_s: float = 0.0
) -> _Point:
    """Ask for so long, and read before and after what the service did."""
    before, began_cpu_s, began = service.batches(), service.cpu_s(), time.perf_counter()
    latencies = asyncio.run(client.ask(connections, seconds, pause_s))
    took_s, cpu_s = time.perf_counter() - began, service.cpu_s() - began_cpu_s
    batches, images = (now - then for now, then in zip(service.batches(), before, strict=True))
    return _Point(images / batches, cpu_s / batches, cpu_s / took_s, latencies)
