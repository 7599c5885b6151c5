"""Where decoded pictures lie: in memory, or in a file that looks like memory."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import DatasetError

SHARE = 0.5
"""Of the memory that this process may use, for one split."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""A container's; `max`, or no such file, where there is none."""


def make_room(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Give an uninitialised uint8 array for a split's pictures, (N, S, S, C).

    What would take more than half of the machine's memory, or of the container's, is mapped
    from a temporary file, which is gone when the process ends: ImageNet's training pictures
    at 224 pixels are 193 GB. The folder is `TMPDIR`'s.

    Raises:
        DatasetError: If the disk has no room for the file.
    """
    size = int(np.prod(shape))
    if size <= SHARE * usable_memory():
        return np.empty(shape, np.uint8)
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile(dir=folder) as file:  # the mapping keeps it alive
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk later would be a crash
        except OSError as error:
            raise DatasetError(
                f"The pictures take {size / 1e9:,.1f} GB, too much for memory and for the disk of "
                f"{folder} ({error.strerror}); set TMPDIR to a folder with room, or make them "
                "smaller with --set image_size=."
            ) from error
        return np.memmap(file, np.uint8, "r+", shape=shape)


def usable_memory() -> int:
    """Count the bytes that this process may use: the machine's, cut by the cgroup's limit."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        memory = min(memory, int(CGROUP_LIMIT.read_text(encoding="utf-8")))
    return memory
