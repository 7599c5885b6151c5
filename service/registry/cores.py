"""How cores are shared: between processes, concurrent runs in each, and threads in each run."""

from collections.abc import Mapping
from typing import NamedTuple

from service.settings import Settings

SMALL_NETWORK_S = 0.005
"""Networks that take less per image gain from several processes, since Python's share counts."""


class Cores(NamedTuple):
    """Processes, concurrent runs in each, and threads in each run."""

    workers: int
    instances: int
    threads: int

    @property
    def session_threads(self) -> int:
        """Threads of the session that all runs share, besides the own thread of each run."""
        return self.instances * (self.threads - 1) + 1


def share_cores(settings: Settings, usable: int, *, is_small: bool = False) -> Cores:
    """Choose the values that are not set, for the cores of one worker.

    For a large network, two concurrent runs with half of the threads each are faster than one run
    with all: while one waits for Python, the other computes. For a small one they are slower, since
    both wait for Python (docs/decisions/0015).
    """
    workers = settings.processes
    usable = max(1, usable // workers)
    takes_all = is_small and not settings.intra_op_threads
    instances = settings.concurrent_runs or (1 if takes_all else min(2, usable))
    return Cores(workers, instances, settings.intra_op_threads or max(1, usable // instances))


def suits_inline(cores: Cores, usable: int, seconds: Mapping[int, float]) -> bool:
    """Whether the event loop should run the batches: with one core and a small network.

    There a thread would only alternate with the event loop, and each switch costs time.

    Args:
        cores: Of one worker.
        usable: Cores of all workers.
        seconds: By batch size, as measured.
    """
    has_one_core = usable <= cores.workers and cores.instances == 1
    return has_one_core and seconds[1] < SMALL_NETWORK_S
