"""How much of the memory images may take: smaller sets are held there, larger ones are streamed."""

import os
from contextlib import suppress
from pathlib import Path

from model.preprocessing import Preprocessing
from training.distributed import processes

MEMORY_SHARE = 0.25
"""Of the memory that this machine, or its container, has."""
MAX_BYTES = 2 * 2**30
"""More would take minutes to decode before the first step."""
MAX_FILES = 100_000
"""Likewise, however small they are."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""A container's memory limit; `max`, or no such file, where there is none."""


def images_limit() -> int:
    """Count the bytes that the images may take in this process: its share of the machine's."""
    shared = min(MEMORY_SHARE * usable_memory(), MAX_BYTES)
    return int(shared / processes().local_world_size)


def fit_in_memory(count: int, spec: Preprocessing) -> bool:
    """Whether so many images are held in memory; else they are streamed."""
    return count <= MAX_FILES and count * image_bytes(spec) <= images_limit()


def image_bytes(spec: Preprocessing) -> int:
    """Count the bytes of a preprocessed image."""
    return spec.crop**2 * spec.channels


def usable_memory() -> int:
    """Count the bytes that this process may use: the machine's, cut by the cgroup's limit."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        memory = min(memory, int(CGROUP_LIMIT.read_text(encoding="utf-8")))
    return memory
