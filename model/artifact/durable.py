"""Files and folders that are there whole, or not at all, also after a loss of power."""

import os
import secrets
import shutil
from pathlib import Path


def write_synced(path: Path, content: bytes) -> None:
    """Write a file, and wait until the disk has it.

    Raises:
        OSError: If it cannot be written.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_synced(path: Path, content: bytes) -> None:
    """Write a temporary file beside it, sync it, and rename it into place.

    The old one stays until then. Processes may do so at once: the last one's file remains.

    Raises:
        OSError: If it cannot be written or renamed; nothing is left beside the old one.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def move_into_place(temporary: Path, folder: Path) -> None:
    """Give a finished folder its name; an old one steps aside first and is then removed.

    Where the new one cannot have the name, the old one takes it back.

    Args:
        temporary: Beside the place, so that a rename is enough.
        folder: The place.

    Raises:
        OSError: If it cannot be renamed.
    """
    sync_folder(temporary)
    if folder.exists():
        old = temporary.with_name(f"{temporary.name}.old")
        folder.rename(old)
        try:
            temporary.rename(folder)
        finally:
            if not folder.exists():
                old.rename(folder)
        shutil.rmtree(old)
    else:
        temporary.rename(folder)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's names last through a loss of power.

    Raises:
        OSError: If it cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
