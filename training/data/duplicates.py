"""Images that a data set holds more than once, found by their pixels.

A test image that is in the training split too makes the measured accuracy too high. Only exact
copies are found, in whatever file format they are.
"""

from collections import defaultdict
from typing import NamedTuple

from training.data.dataset import Dataset
from training.data.splits import plain


class Place(NamedTuple):
    """Where an image is: its split, and its position there."""

    split: str
    position: int


Group = tuple[Place, ...]
"""Two or more places of one image."""


def find_duplicates(dataset: Dataset) -> list[Group]:
    """Find images that are equal, byte for byte, over all splits."""
    places: dict[bytes, list[Place]] = defaultdict(list)
    for name, split in dataset.splits.items():
        for position, digest in enumerate(split.digests()):
            places[digest].append(Place(name, position))
    return [tuple(group) for group in places.values() if len(group) > 1]


def across_splits(groups: list[Group]) -> list[Group]:
    """Keep the images that are in more than one split."""
    return [group for group in groups if len({place.split for place in group}) > 1]


def with_two_labels(groups: list[Group], dataset: Dataset) -> list[Group]:
    """Keep the images that have more than one label."""
    targets = {name: split.targets.tolist() for name, split in dataset.splits.items()}
    return [
        group
        for group in groups
        if len({targets[place.split][place.position] for place in group}) > 1
    ]


def name_places(group: Group, dataset: Dataset) -> str:
    """Write an image's places for people: `train boot/3.png = test boot/9.png`.

    In valid Unicode, whatever bytes a file's name is made of: it goes into summary.json.
    """
    return " = ".join(
        f"{place.split} {plain(files[place.position]) if files else place.position}"
        for place in group
        for files in [dataset.files.get(place.split)]
    )
