"""A folder on the disk, without the files that systems and tools leave in it.

By names alone; no file is opened.
"""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from training.data.dataset import DatasetError
from training.data.splits import plain

IMAGE_SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp")
OTHER_IMAGES = frozenset(
    {".avif", ".cr2", ".dcm", ".dng", ".heic", ".heif", ".jp2", ".nef", ".pgm", ".ppm"}
    | {".svg", ".tif", ".tiff"}
)
"""Of images that are not read."""
SYSTEM_FILES = frozenset(
    {
        "$recycle.bin",
        "#recycle",
        "#snapshot",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "icon\r",
        "lost+found",
        "recycler",
        "system volume information",
        "thumbs.db",
    }
)
"""Added by archives and systems, in lower case; names that begin with a dot are skipped too."""
MAX_LINKS = 3
"""Links to folders that are followed one after another; more are taken for a loop."""


class _Entries(NamedTuple):
    folders: list["Folder"]
    images: list[Path]
    others: list[Path]
    left_out: list[str]
    closed: str


class Folder:
    """A folder, read on first access.

    Args:
        path: Where it is.
        above: Real paths of the folders above it.
        links: How many links lead to it.
    """

    def __init__(self, path: Path, above: tuple[Path, ...] = (), links: int = 0) -> None:
        self.path = path
        self._above = above
        self._links = links

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def folders(self) -> list["Folder"]:
        """Its folders, sorted."""
        return self._entries.folders

    @property
    def images(self) -> list[Path]:
        """Its files with the suffix of an image, sorted."""
        return self._entries.images

    @property
    def others(self) -> list[Path]:
        """Its other files, sorted."""
        return self._entries.others

    @property
    def left_out(self) -> list[str]:
        """Entries that are neither, each with the reason; the folder itself if it is unreadable."""
        return self._entries.left_out

    @property
    def closed(self) -> str:
        """Why it cannot be read; empty if it can."""
        return self._entries.closed

    @cached_property
    def holds_images(self) -> bool:
        """Whether there is an image at any depth."""
        return any(folder.images for folder in self.walk())

    @property
    def filled(self) -> list["Folder"]:
        """Its folders that hold images, and those that cannot be read, which may.

        Raises:
            DatasetError: If this folder cannot be read.
        """
        if self.closed:
            raise DatasetError(
                f"{plain(self.path)} cannot be read: {self.closed}. Change its permissions, or "
                "move it away."
            )
        return [folder for folder in self.folders if folder.closed or folder.holds_images]

    def walk(self) -> Iterator["Folder"]:
        """Yield this folder and all folders in it, at any depth."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += folder.folders

    @cached_property
    def _entries(self) -> _Entries:
        found = _Entries([], [], [], [], "")
        try:
            with os.scandir(self.path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if not entry.name.startswith(".") and entry.name.casefold() not in SYSTEM_FILES:
                        self._put(entry, found)
        except OSError as error:
            closed = error.strerror or type(error).__name__
            reason = f"{plain(self.path)}: the folder cannot be read: {closed}"
            return _Entries([], [], [], [reason], closed)
        return found

    def _put(self, entry: os.DirEntry[str], found: _Entries) -> None:
        """Sort one name into the lists."""
        path = self.path / entry.name
        if entry.is_dir():
            folder = self._within(path, is_link=entry.is_symlink())
            if folder is None:
                found.left_out.append(f"{plain(path)}: a link that leads back to a folder above it")
            else:
                found.folders.append(folder)
        elif not entry.is_file() and path.exists():  # a pipe or a device may never end
            found.left_out.append(f"{plain(path)}: not a regular file")
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found.images.append(path)
        else:
            found.others.append(path)

    def _within(self, path: Path, *, is_link: bool) -> "Folder | None":
        """Return a folder in this one; None for a link that leads back to one of those above."""
        if not is_link:
            return Folder(path, self._above, self._links)
        target = path.resolve()
        above = (*self._above, self.path.resolve())
        if self._links == MAX_LINKS or any(folder.is_relative_to(target) for folder in above):
            return None
        return Folder(path, above, self._links + 1)
