"""The plan against reality: latencies that `plan-capacity` predicts, and those that are measured.

`python -m benchmarks.plan [ARTIFACT] [SECONDS]`, on an idle machine with two cores or more. One
replica on a core of its own, and two behind a balancer that deals requests out in turn, are
measured as `plan-capacity` does it, before each round: a virtual machine is not always equally
fast. Then they are sent requests that arrive by chance, at 40, 60 and 80 % of their capacity; the
same arrivals are simulated. Medians over the rounds.

How to read the table: `p99` and `mean` are predicted and measured, in ms, and measured over
predicted; the goal is 0.8 to 1.2. `others` is the share of the time that other
programs had the replicas' cores, `late` how long after its moment a request was sent (99 of 100).
`refused` is the share that was not answered with 200: none is predicted.
A row with `disturbed` says nothing about the plan: something else ran on the machine. With two
cores the load runs on those of the two replicas, so that they are disturbed a little in any case.
"""

import os
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self
from urllib.request import urlopen

import numpy as np

from benchmarks.arguments import SHIPPED, ArtifactFolder, Seconds
from benchmarks.client import prepare
from benchmarks.images import make_image
from benchmarks.poisson import arrivals, send
from benchmarks.process import TICK, Process, ours, pin_to, serving, write_result
from model.artifact.folder import read
from model.cli import script
from service.capacity.measurement import Measured, measure_running
from service.capacity.service_process import ServiceProcess
from service.capacity.simulation import Replica, serve

LOADS = (0.4, 0.6, 0.8)
ROUNDS = 5
GOAL = 0.2
DISTURBED = 0.03
"""Share of the time that others may have the replicas' cores."""
COUNTS = re.compile(
    r"^(resnet_batch_size_images_(?:count|sum)|resnet_request_duration_seconds_sum"
    r'\{route="/predict"\}) (\S+)',
    re.M,
)
SEEN = 'resnet_request_duration_seconds_sum{route="/predict"}'

Row = dict[str, float]


class System(NamedTuple):
    """Replicas that are up, and what a plan knows of one."""

    servers: Sequence[Process]
    measured: Measured

    @classmethod
    def of(cls, servers: Sequence[Process]) -> Self:
        """Measure the first replica as it runs."""
        service = ServiceProcess(servers[0].started, servers[0].port, BytesIO())
        return cls(servers, measure_running(service, make_image(28), cores=1))

    @property
    def replica(self) -> Replica:
        """As it is simulated."""
        measured = self.measured
        return Replica(
            measured.fit.cost,
            measured.max_batch_size,
            measured.runners,
            idle_s=measured.idle_s,
            stalls=measured.stalls,
        )


def counts(servers: Sequence[Process]) -> dict[str, float]:
    """Add up what the servers count, and the time that others had the servers' cores."""
    total: dict[str, float] = {}
    for server in servers:
        with urlopen(server.url("/metrics")) as answer:  # noqa: S310  # our own server
            found = dict(COUNTS.findall(answer.read().decode()))
        (core,) = os.sched_getaffinity(server.started.pid)
        found["others"] = busy_s(core) - server.cpu_s()
        for name, value in found.items():
            total[name] = total.get(name, 0.0) + float(value)
    return total


def busy_s(core: int) -> float:
    """Seconds that programs ran on a core so far; see proc(5), `stat`."""
    lines = Path("/proc/stat").read_text().splitlines()
    (fields,) = (line.split()[1:] for line in lines if line.startswith(f"cpu{core} "))
    user, nice, system, _, _, interrupts, soft = (int(each) for each in fields[:7])
    return (user + nice + system + interrupts + soft) / TICK


def one_round(system: System, load: float, seconds: float, seed: int) -> Row:
    """Send requests, and simulate the same."""
    servers, replica, rest_s = system.servers, system.replica, system.measured.round_trip_s
    number = len(servers)
    due = arrivals(load * number * replica.capacity, seconds, seed)
    request = prepare(servers[0].url("/predict"), make_image(28))
    before, began = counts(servers), time.perf_counter()
    answers = send([server.port for server in servers], request, due)
    took_s, after = time.perf_counter() - began, counts(servers)
    did = {name: value - before.get(name, 0.0) for name, value in after.items()}
    simulated = [serve(replica, due[at::number]) for at in range(number)]
    latencies = np.concatenate([each.latencies for each in simulated]) + rest_s
    return {
        "fixed_ms": 1000 * replica.cost.fixed_s,
        "image_ms": 1000 * replica.cost.image_s,
        "idle_ms": 1000 * replica.idle_s,
        "fit_residual": system.measured.fit.residual,
        "round_trip_ms": 1000 * rest_s,
        "mean_stall_ms": 1000 * float(np.mean(replica.stalls)),
        "p99_stall_ms": 1000 * float(np.percentile(replica.stalls, 99)),
        "core_share": system.measured.core_share,
        "per_second": len(due) / float(due[-1]),
        "p99_ms": answers.percentile_ms(99),
        "predicted_p99_ms": 1000 * float(np.percentile(latencies, 99)),
        "mean_ms": answers.mean_ms,
        "predicted_mean_ms": 1000 * float(latencies.mean()),
        "batch_size": did["resnet_batch_size_images_sum"] / did["resnet_batch_size_images_count"],
        "predicted_batch_size": float(np.mean([each.batch_size for each in simulated])),
        "in_flight": sum(answers.latencies) / took_s,
        "in_flight_as_the_service_sees_it": did[SEEN] / took_s,
        "not_answered": 1 - answers.statuses[200] / len(due),
        "others": did["others"] / took_s / number,
        "late_p99_ms": 1000 * float(np.percentile(answers.late, 99)),
    }


def rows(servers: Sequence[Process], seconds: float) -> list[dict[str, object]]:
    """Measure all loads in turns, and print a line for each."""
    rounds = []
    for seed in range(ROUNDS):
        system = System.of(servers)
        rounds.append([one_round(system, load, seconds, seed) for load in LOADS])
    found: list[dict[str, object]] = []
    for load, own in zip(LOADS, zip(*rounds, strict=True), strict=True):
        row = {name: median(each[name] for each in own) for name in own[0]}
        ratios = {
            name: median(each[f"{name}_ms"] / each[f"predicted_{name}_ms"] for each in own)
            for name in ("p99", "mean")
        }
        is_met = abs(ratios["p99"] - 1) <= GOAL and not row["not_answered"]
        verdict = "disturbed" if row["others"] > DISTURBED else "met" if is_met else "missed"
        replicas = len(servers)
        print(
            f"{replicas:8} {load:5.0%} {row['per_second']:9.0f}"
            f" {row['predicted_p99_ms']:8.2f} {row['p99_ms']:8.2f} {ratios['p99']:5.2f}"
            f" {row['predicted_mean_ms']:8.2f} {row['mean_ms']:8.2f} {ratios['mean']:5.2f}"
            f" {row['not_answered']:8.1%} {row['others']:7.1%} {row['late_p99_ms']:6.2f}"
            f"  {verdict}",
            flush=True,
        )
        found.append(
            {
                "replicas": replicas,
                "load": load,
                **{name: round(value, 3) for name, value in row.items()},
                **{f"{name}_measured_over_predicted": round(r, 3) for name, r in ratios.items()},
                "verdict": verdict,
            }
        )
    return found


def check(artifact: Path, precision: str, seconds: float) -> list[dict[str, object]]:
    """Compare one replica and two with the simulation."""
    print(
        f"\n{precision}\n"
        "replicas  load requests/s  p99: predicted measured ratio  mean: predicted measured ratio"
        "  refused  others   late  goal"
    )
    command, environment = ours(artifact=str(artifact), precision=precision, drain_delay_s="0")
    found: list[dict[str, object]] = []
    cores = sorted(os.sched_getaffinity(0))
    for replicas in (1, 2):
        with ExitStack() as stack:
            stack.callback(pin_to, set(cores))
            servers = [
                stack.enter_context(serving(command, environment, cores={core}))
                for core in cores[:replicas]
            ]
            pin_to(set(cores[replicas:] or cores))
            found += rows(servers, seconds)
    return found


def main(artifact: ArtifactFolder = SHIPPED, seconds: Seconds = 10) -> None:
    """Measure and print."""
    precisions = {"float32", "int8"} & read(artifact).manifest.files.keys()
    measured = {precision: check(artifact, precision, seconds) for precision in sorted(precisions)}
    print(write_result(f"plan-{artifact.parent.name}", measured))


if __name__ == "__main__":
    script(main)()
