"""Read an artifact's files safely: no device, no FIFO, no link out of the folder.

Others may write to the folder while it is read. So a file is opened once, without blocking. It must
be a regular file inside the folder, of an allowed length, before its first byte is read.
"""

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 8 * 2**20
"""A manifest has some 50 KB; one of 20,000 labels has 3 MB."""

_KINDS: Mapping[int, str] = MappingProxyType(
    {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
)


def open_inside(folder: Path, name: str) -> BinaryIO:
    """Open a regular file of a folder for reading; never waits, whatever lies there.

    Links are followed where they stay inside the folder, as in Kubernetes' mounted volumes.

    Raises:
        OSError: If there is no such file or it may not be read; `strerror` is half a sentence.
    """
    path = Path(os.path.realpath(folder / name, strict=True))
    if not path.is_relative_to(os.path.realpath(folder)):
        raise OSError(errno.EPERM, f"it is a link out of its folder, to {path}")
    _refuse_irregular(path.lstat())  # first: to open a device may set it going
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _refuse_irregular(os.fstat(file))  # it may have been replaced meanwhile
    except OSError:
        os.close(file)
        raise
    return os.fdopen(file, "rb")


def _refuse_irregular(found: os.stat_result) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no file')}, and must be a file")


def read_manifest_bytes(folder: Path) -> bytes:
    """Read the manifest's text.

    Raises:
        OSError: If it cannot be read, or is longer than a manifest may be.
    """
    with open_inside(folder, MANIFEST) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= MAX_MANIFEST_BYTES:
            return file.read(size)
    raise OSError(
        errno.EFBIG, f"it has {size:,} bytes, and may have {MAX_MANIFEST_BYTES:,} at most"
    )


def read_of_length(folder: Path, name: str, length: int) -> tuple[bytes, int]:
    """Read a file that must have a certain length, or nothing of it.

    Returns:
        What it holds, and its length; nothing where that is another.

    Raises:
        OSError: If it cannot be read.
    """
    with open_inside(folder, name) as file:
        found = os.fstat(file.fileno()).st_size
        content = file.read(length) if found == length else b""
    return content, len(content) if found == length else found


def versions(path: Path) -> list[Path]:
    """List the version folders inside `<name>/`, in no order; OSError if it may not be read."""
    return [
        folder
        for folder in path.iterdir()
        if re.fullmatch(r"[1-9][0-9]{0,8}", folder.name) and holds_artifact(folder)
    ]


def holds_artifact(folder: Path) -> bool:
    """Whether a folder has an entry `manifest.json`, readable or not.

    One that cannot be read, or is no file, counts too: reading it gives the reason.
    """
    try:
        (folder / MANIFEST).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
