"""The processes of a run that torchrun started, as its environment variables say.

Source:
    torchrun's documentation, "Environment Variables".
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Processes:
    """The processes of this run; one alone where torchrun was not used.

    Attributes:
        by_torchrun: Whether torchrun started this process.
        world_size: Processes on all machines.
        rank: Of this process among them, from 0.
        local_world_size: Processes on this machine.
        local_rank: Of this process among those, from 0.
        nodes: Machines.
    """

    by_torchrun: bool
    world_size: int
    rank: int
    local_world_size: int
    local_rank: int
    nodes: int


def processes() -> Processes:
    """Read what torchrun says of this run's processes."""
    return Processes(
        by_torchrun="LOCAL_WORLD_SIZE" in os.environ,
        world_size=_number("WORLD_SIZE", 1),
        rank=_number("RANK", 0),
        local_world_size=_number("LOCAL_WORLD_SIZE", 1),
        local_rank=_number("LOCAL_RANK", 0),
        nodes=_number("GROUP_WORLD_SIZE", 1),
    )


def _number(variable: str, default: int) -> int:
    return int(os.environ.get(variable, default))
