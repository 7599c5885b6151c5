"""The last images in a ring buffer, and running totals of them.

Reading the totals costs the same for any size of the ring: new images are added to the totals in
groups, and the images that they replace are subtracted.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FOLD = 512
"""Images per group: one at a time would cost several times as much."""
LABEL, CONFIDENCE, INSIDE, BRIGHTNESS, SIDE_COLUMN = range(5)
"""Columns of a row."""

Row = tuple[float, float, float, float, float]


class Window:
    """The last images; for the event loop only.

    Args:
        size: Number of images in the window.
        labels: Number of labels.
        edges: Of bins, by column.

    Attributes:
        labels: Images of each label, (K,).
        bins: Images in each bin, by column; the first bin is below all edges.
        outside: Images that are out of distribution.
    """

    def __init__(self, size: int, labels: int, edges: Mapping[int, tuple[float, ...]]) -> None:
        self.size = size  # allocates all memory now
        self.labels = np.zeros(labels, np.int64)
        self.bins = {
            column: np.zeros(len(values) + 1, np.int64) for column, values in edges.items()
        }
        self.outside = 0
        self._edges = {column: np.array(values) for column, values in edges.items()}
        self._rows = np.zeros((size, 5))
        self._new: list[Row] = []
        self._folded = 0  # images since the start
        self._known = np.zeros(5, np.int64)  # images that have the quantity
        self._sums = np.zeros(5)

    def add(self, row: Row) -> None:
        """Replace the oldest image; a quantity that the new one lacks is -1."""
        self._new.append(row)
        if len(self._new) >= min(FOLD, self.size):
            self.fold()

    def fold(self) -> None:
        """Bring the totals up to date."""
        if not self._new:
            return
        rows, self._new = np.array(self._new, np.float64), []  # (n, 5)
        positions = np.arange(self._folded, self._folded + len(rows))
        self._count(self._rows[positions[positions >= self.size] % self.size], -1)
        self._rows[positions % self.size] = rows
        self._count(rows, 1)
        self._folded += len(rows)

    def _count(self, rows: NDArray[np.float64], sign: int) -> None:
        np.add.at(self.labels, rows[:, LABEL].astype(np.int64), sign)
        for column, counts in self.bins.items():
            values = rows[:, column]
            found = np.searchsorted(self._edges[column], values[values >= 0], side="right")
            np.add.at(counts, found, sign)
        self.outside += sign * int((rows[:, INSIDE] == 0).sum())
        is_known = rows >= 0
        self._known += sign * is_known.sum(axis=0)
        self._sums += sign * np.where(is_known, rows, 0).sum(axis=0)

    def __len__(self) -> int:
        """Count the images in the totals."""
        return min(self._folded, self.size)

    def known(self, column: int) -> int:
        """Count the images with a quantity."""
        return int(self._known[column])

    def mean(self, column: int) -> float | None:
        """Return the mean of a quantity; None if no image has it."""
        known = self.known(column)
        return float(self._sums[column]) / known if known else None
