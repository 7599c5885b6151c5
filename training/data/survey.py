"""A first look at a folder, before any image is decoded: how many, how large, which labels.

The headers of some hundreds of files are read, not of all: a folder may have a million.
"""

import statistics
from pathlib import Path
from typing import NamedTuple

from training.data.dataset import DatasetError
from training.data.division import HELD_OUT_SHARE
from training.data.headers import read_headers
from training.data.listing import list_images
from training.data.splits import plain

SAMPLE = 500
"""Files whose headers are read, evenly spread over the training split."""


class Survey(NamedTuple):
    """What a folder seems to hold.

    Attributes:
        images: To train on, about.
        labels: Names.
        shorter_side: Median, in pixels.
        channels: 1 if all images that were looked at are grey.
    """

    images: int
    labels: tuple[str, ...]
    shorter_side: int
    channels: int


def survey_folder(root: Path, labels_csv: Path | None = None) -> Survey:
    """Count the training images and read the headers of some.

    Args:
        root: The folder.
        labels_csv: A table of its files and labels, if there is one.

    Raises:
        DatasetError: If the labels make no sense, or none of the headers can be read.
    """
    listing = list_images(root, labels_csv=labels_csv)
    files = listing.splits.get("train") or [f for split in listing.splits.values() for f in split]
    headers, broken = read_headers(files[:: max(1, len(files) // SAMPLE)])
    if not headers:
        first = f" The first: {broken[0]}" if broken else ""
        raise DatasetError(f"{plain(root)} has no readable image to train on.{first}")
    missing = [name for name in ("validation", "test") if not listing.splits.get(name)]
    drawn = 0 if missing == ["test"] else len(missing)  # validation is there: nothing is drawn
    return Survey(
        images=max(1, round(len(files) * (1 - HELD_OUT_SHARE) ** drawn)),
        labels=listing.labels,
        shorter_side=int(statistics.median(header.shorter_side for header in headers.values())),
        channels=1 if all(header.is_grey for header in headers.values()) else 3,
    )
