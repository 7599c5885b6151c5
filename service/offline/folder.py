"""The image files of a folder, at any depth, in an order that does not change.

By names, except for files without a suffix, whose first bytes decide. One folder's names are held
at a time, so that millions of files take no memory.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from model.images.image_file import file_format

SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp"})
OTHER_IMAGES = frozenset(
    {".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dng", ".heic", ".heif", ".ico", ".jp2", ".jxl"}
    | {".nef", ".orf", ".psd", ".raf", ".rw2", ".svg", ".tga", ".tif", ".tiff"}
)
"""Images that cannot be decoded here: a row says so, since the user may expect an answer."""
SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "#recycle", "lost+found"})
HEAD_BYTES = 16


class ImageFolder:
    """A folder whose images are listed anew each time.

    Args:
        root: The folder.

    Attributes:
        left_out: Counts of what is no image, by kind, of the last listing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: Counter[str] = Counter()

    def files(self) -> Iterator[str]:
        """Yield the images' paths relative to the folder; names that begin with a dot are skipped.

        Raises:
            OSError: If the folder itself cannot be read; one inside it is counted and left out.
        """
        self.left_out.clear()
        yield from self._walk("", _identity(self.root))

    def _walk(self, inside: str, *above: tuple[int, int]) -> Iterator[str]:
        try:
            with os.scandir(self.root / inside) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            if not inside:
                raise
            self.left_out["unreadable folders"] += 1
            return
        for entry in entries:
            path = f"{inside}{entry.name}"
            if entry.name.startswith(".") or entry.name.casefold() in SYSTEM_FOLDERS:
                continue
            if entry.is_dir():
                identity = _identity(Path(entry.path))
                if identity in above:
                    self.left_out["links to a folder above"] += 1
                else:
                    yield from self._walk(f"{path}/", *above, identity)
            elif kind := _not_an_image(entry):
                self.left_out[kind] += 1
            else:
                yield path


def as_text(path: str) -> str:
    """Write a path in valid Unicode; names on the disk may be any bytes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _identity(folder: Path) -> tuple[int, int]:
    """Device and inode: the same for all links to a folder."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _not_an_image(entry: os.DirEntry[str]) -> str:
    """Say what kind of file it is, as in "12 files of kind .txt"; empty for an image."""
    suffix = Path(entry.name).suffix.lower()
    if not entry.is_file() and not entry.is_symlink():  # a broken link gets a row with its reason
        return "no regular files"
    if suffix in SUFFIXES or suffix in OTHER_IMAGES:
        return ""
    if suffix:
        return f"files of kind {suffix}"
    try:
        with Path(entry.path).open("rb") as file:
            is_image = file_format(file.read(HEAD_BYTES)) is not None
    except OSError:
        is_image = False
    return "" if is_image else "files without a suffix"
