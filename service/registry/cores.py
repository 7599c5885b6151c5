"""How the cores are used: by processes, by runs side by side in each, by threads in each run."""

from collections.abc import Mapping
from typing import NamedTuple

from service.settings import Settings

SMALL_NETWORK_S = 0.005
"""Under this time an image, Python's share of a request is worth a process of its own."""


class Cores(NamedTuple):
    """How the cores are used: processes, runs side by side in each, threads in each run."""

    workers: int
    instances: int
    threads: int

    @property
    def session_threads(self) -> int:
        """Threads of the session that all runs share: each brings its own, and what it adds."""
        return self.instances * (self.threads - 1) + 1


def share_cores(settings: Settings, usable: int, *, is_small: bool = False) -> Cores:
    """Choose what the settings leave open, for the cores of one worker.

    Two runs side by side with half of the threads each finish more images of a large network
    than one run with all: while one waits for Python, the other computes. Of a small one they
    finish fewer, since both wait for Python (docs/decisions/0015).
    """
    workers = settings.processes
    usable = max(1, usable // workers)
    takes_all = is_small and not settings.intra_op_threads
    instances = settings.concurrent_runs or (1 if takes_all else min(2, usable))
    return Cores(workers, instances, settings.intra_op_threads or max(1, usable // instances))


def suits_inline(cores: Cores, usable: int, seconds: Mapping[int, float]) -> bool:
    """Tell whether the event loop shall run the batches: one core, and a small network.

    A thread would only alternate with the event loop there, and each switch costs both.

    Args:
        cores: Of one worker.
        usable: Cores of all workers.
        seconds: By batch size, as measured.
    """
    has_one_core = usable <= cores.workers and cores.instances == 1
    return has_one_core and seconds[1] < SMALL_NETWORK_S
