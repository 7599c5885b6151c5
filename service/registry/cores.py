"""How the cores are used: by processes, by runs side by side in each, by threads in each run."""

from typing import NamedTuple

from service.inference.cost import Plan
from service.settings import Settings

SMALL_NETWORK_S = 0.005
"""Under this time a picture, Python's share of a request is worth a process of its own."""


class Cores(NamedTuple):
    """How the cores are used: processes, runs side by side in each, threads in each run."""

    workers: int
    instances: int
    threads: int

    @property
    def computing(self) -> int:
        """Threads of the session that all runs share: each brings itself, and what it adds."""
        return self.instances * (self.threads - 1) + 1


def share_cores(settings: Settings, usable: int, *, is_small: bool = False) -> Cores:
    """Fill in what the settings leave to us, for the cores of one worker.

    Two runs side by side with half of the threads each finish more pictures of a large network
    than one run with all: while one waits for Python, the other computes. Of a small one they
    finish fewer, since both wait for Python (docs/decisions/0015).
    """
    workers = settings.processes
    usable = max(1, usable // workers)
    takes_all = is_small and not settings.threads
    instances = settings.instances or (1 if takes_all else min(2, usable))
    return Cores(workers, instances, settings.threads or max(1, usable // instances))


def suits_loop(cores: Cores, usable: int, plan: Plan) -> bool:
    """Tell whether the event loop shall run the batches: one core, and a small network.

    There a thread would only take turns with the loop, and each turn costs both.
    """
    is_alone = usable <= cores.workers and cores.instances == 1
    return is_alone and plan.seconds[1] < SMALL_NETWORK_S
