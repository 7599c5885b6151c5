"""Allocate arrays for decoded images: in memory, or in a mapped temporary file."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import DatasetError

MEMORY_SHARE = 0.5
"""Of the memory that this process may use, for one split."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""A container's memory limit; `max`, or no such file, where there is none."""


def allocate(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an uninitialised uint8 array for a split's images, (N, S, S, C).

    An array larger than half of the machine's memory, or of the container's, is mapped from a
    temporary file in `TMPDIR`, which the system deletes when the process ends: ImageNet's
    training images at 224 pixels take 193 GB.

    Raises:
        DatasetError: If the disk is too full for the file.
    """
    size = int(np.prod(shape))
    if size <= MEMORY_SHARE * usable_memory():
        return np.empty(shape, np.uint8)
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile(dir=folder) as file:  # the mapping keeps it alive
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a disk that fills later would crash us
        except OSError as error:
            raise DatasetError(
                f"The images take {size / 1e9:,.1f} GB, too much for the memory and for the disk "
                f"of {folder} ({error.strerror}). Set TMPDIR to a folder on a larger disk, or make "
                "the images smaller with --set image_size=."
            ) from error
        return np.memmap(file, np.uint8, "r+", shape=shape)


def usable_memory() -> int:
    """Count the bytes that this process may use: the machine's, cut by the cgroup's limit."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        memory = min(memory, int(CGROUP_LIMIT.read_text(encoding="utf-8")))
    return memory
