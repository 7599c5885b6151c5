"""Leaving pieces of an image file out before it is decoded."""

from typing import Any, NamedTuple

MAX_PIECES, BYTES_A_PIECE = 4_096, 256
"""A file may have so many chunks, segments or blocks, and one more for each so many of its bytes.
Photographs have some hundreds; to read 45,000, the most in 10 MB, takes 20 ms."""


class Stripped(NamedTuple):
    """A file without its metadata, and what Pillow's `image.info` must have of it."""

    data: bytes
    info: dict[str, Any]


class Stripper:
    """Collects which pieces of a file stay, one after another.

    Args:
        data: The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = MAX_PIECES + len(data) // BYTES_A_PIECE
        self.info: dict[str, Any] = {}
        self._kept: list[memoryview] = []
        self._from = 0

    def count(self) -> None:
        """Count a piece.

        Raises:
            ValueError: If the file has too many.
        """
        self.left -= 1
        if self.left < 0:
            raise ValueError("too many small pieces")

    def drop(self, start: int, end: int) -> None:
        """Leave out some bytes; they come after those that were left out before."""
        self._kept.append(memoryview(self.data)[self._from : start])
        self._from = end

    @property
    def has_dropped(self) -> bool:
        """Whether anything was left out."""
        return bool(self._kept)

    def result(self) -> Stripped:
        """Give the file without the pieces that were dropped."""
        if not self.has_dropped:
            return Stripped(self.data, self.info)
        return Stripped(b"".join((*self._kept, memoryview(self.data)[self._from :])), self.info)
