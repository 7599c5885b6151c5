"""The pieces of an image file, of which only some are passed on to its decoder."""

from typing import Any, NamedTuple

MAX_PIECES, BYTES_A_PIECE = 4_096, 256
"""A file may have so many chunks, segments or blocks, and one more for each so many of its bytes.
Photographs have some hundreds; to walk 45,000, the most in 10 MB, takes 20 ms."""


class Bare(NamedTuple):
    """A file without its metadata, and what is to be known of it, for Pillow's `image.info`."""

    data: bytes
    info: dict[str, Any]


class Walk:
    """The pieces of a file, one after another; notes which stay."""

    def __init__(self, data: bytes) -> None:
        """Keep all of a file."""
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

    def bare(self) -> Bare:
        """Give what is left."""
        if not self.has_dropped:
            return Bare(self.data, self.info)
        return Bare(b"".join((*self._kept, memoryview(self.data)[self._from :])), self.info)
