"""A folder as it lies on the disk, without what systems and tools leave in it.

By names alone; no file is opened.
"""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from training.data.dataset import DatasetError
from training.data.splits import plain

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
LEFT_BEHIND = frozenset(
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
"""What archives and systems add, in lower case; names that begin with a dot are hidden, too."""
MOST_LINKS = 3
"""Links to folders that are followed one after another; more are taken for a circle."""


class _Entries(NamedTuple):
    folders: list["Folder"]
    pictures: list[Path]
    others: list[Path]
    left_out: list[str]
    closed: str


class Folder:
    """A folder, read when it is first asked what it holds.

    Args:
        path: Where it is.
        above: Real paths of the folders that led to it.
        links: How many of the steps to it were links.
    """

    def __init__(self, path: Path, above: tuple[Path, ...] = (), links: int = 0) -> None:
        """Remember the way here."""
        self.path = path
        self._above = above
        self._links = links

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def folders(self) -> list["Folder"]:
        """The folders right within, sorted."""
        return self._entries.folders

    @property
    def pictures(self) -> list[Path]:
        """The files right within whose names are those of pictures, sorted."""
        return self._entries.pictures

    @property
    def others(self) -> list[Path]:
        """The other files right within, sorted."""
        return self._entries.others

    @property
    def left_out(self) -> list[str]:
        """What is neither, each with the reason; the folder itself if it cannot be read."""
        return self._entries.left_out

    @property
    def closed(self) -> str:
        """Why it cannot be read; empty if it can."""
        return self._entries.closed

    @cached_property
    def holds_pictures(self) -> bool:
        """Whether there is a picture at any depth."""
        return any(folder.pictures for folder in self.walk())

    @property
    def filled(self) -> list["Folder"]:
        """The folders right within that hold pictures, or may: those that cannot be read.

        Raises:
            DatasetError: If this folder cannot be read.
        """
        if self.closed:
            raise DatasetError(
                f"{plain(self.path)} cannot be read: {self.closed}. Change that, or move it away."
            )
        return [folder for folder in self.folders if folder.closed or folder.holds_pictures]

    def walk(self) -> Iterator["Folder"]:
        """Give this folder and all within."""
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
                    if not entry.name.startswith(".") and entry.name.casefold() not in LEFT_BEHIND:
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
                found.left_out.append(f"{plain(path)}: a link that leads in a circle")
            else:
                found.folders.append(folder)
        elif not entry.is_file() and path.exists():  # a pipe or a device may never end
            found.left_out.append(f"{plain(path)}: no ordinary file")
        elif path.suffix.lower() in SUFFIXES:
            found.pictures.append(path)
        else:
            found.others.append(path)

    def _within(self, path: Path, *, is_link: bool) -> "Folder | None":
        """Give a folder within; None where a link leads back to one of those around it."""
        if not is_link:
            return Folder(path, self._above, self._links)
        target = path.resolve()
        above = (*self._above, self.path.resolve())
        if self._links == MOST_LINKS or any(place.is_relative_to(target) for place in above):
            return None
        return Folder(path, above, self._links + 1)
