"""Folders of more images than are held in memory: names first, all else when it is needed.

Of such a folder the headers of some files are read, and the ends of each file, which decide its
split. Images are decoded when a step needs them.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from model.preprocessing import Preprocessing
from training.data.dataset import MemorySplit, Split, channel_statistics, sample
from training.data.decode import Decoded
from training.data.division import KEY_BYTES, Key, content_keys
from training.data.headers import SMALL, Header, choose_preprocessing, read_headers
from training.data.memory import fit_in_memory
from training.data.splits import LabelledFile, inside
from training.data.streamed import Paths, StreamedSplit

SAMPLE = 500
"""Files whose headers are read, evenly spread."""
STATISTICS_IMAGES = 1_000
"""Training images that the mean and standard deviation of a streamed split are taken from."""
USUAL_SIZE = 224
"""Pixels of images that are larger than `SMALL`, where no size is chosen."""

log = logging.getLogger(__name__)


class Look(NamedTuple):
    """A first look at a folder's files.

    Attributes:
        headers: Of the readable files; of some of them in a large folder.
        readable: Files that were not found broken so far, in order.
        broken: The others, each with the reason.
        keys: Of the files' contents in a large folder; else None.
    """

    headers: Mapping[LabelledFile, Header]
    readable: Collection[LabelledFile]
    broken: list[str]
    keys: Mapping[LabelledFile, Key] | None


def look_at(files: Sequence[LabelledFile], size: int | None) -> Look:
    """Read the headers of all files, or of some and the keys of all in a large folder.

    Args:
        files: Of all splits.
        size: Of the network's input in pixels; None: the images' usual one.
    """
    if not _is_large(files, size):
        headers, broken = read_headers(files)
        return Look(headers, headers.keys(), broken, None)
    headers, broken = read_headers(_spread(files))
    if headers and all(header.is_grey for header in headers.values()):
        headers, broken = read_headers(files)  # a single one in colour decides
        readable = list(headers)
    else:
        refused = set(_spread(files)) - headers.keys()
        readable = [file for file in files if file not in refused]
    log.info(f"{len(files):,} files, too many to hold in memory: they are decoded when needed")
    keys = dict(zip(readable, content_keys(readable), strict=True))
    return Look(headers, keys.keys(), broken, keys)


def _is_large(files: Sequence[LabelledFile], size: int | None) -> bool:
    """Whether a folder's images are more than are held in memory."""
    most = size or max(SMALL, USUAL_SIZE)
    largest = Preprocessing(resize=most, crop=most, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    if fit_in_memory(len(files), largest):
        return False
    headers, _ = read_headers(_spread(files))
    return not headers or not fit_in_memory(
        len(files), choose_preprocessing(list(headers.values()), size)
    )


def _spread(files: Sequence[LabelledFile]) -> Sequence[LabelledFile]:
    return files[:: max(1, len(files) // SAMPLE)]


def open_split(
    files: Sequence[LabelledFile], spec: Preprocessing, root: Path, keys: Mapping[LabelledFile, Key]
) -> Decoded:
    """Open a split of a large folder; nothing is decoded yet.

    Args:
        files: Of the split.
        spec: What decoding makes of them.
        root: The folder.
        keys: Of the files' contents.
    """
    targets = tuple(file.target for file in files)
    contents = tuple(keys[file] for file in files)
    split = StreamedSplit(
        Paths(file.path for file in files),
        torch.tensor(targets, dtype=torch.long),
        spec,
        np.frombuffer(b"".join(contents), np.uint8).reshape(len(files), KEY_BYTES),
    )
    names = tuple(inside(file, root) for file in files)
    headers, _ = read_headers(_spread(files))
    sides = tuple(header.shorter_side for header in headers.values())
    return Decoded(split, names, targets, sides, contents, contents, ())


def only_wanted(
    opened: Mapping[str, Decoded], wanted: Collection[str], spec: Preprocessing
) -> dict[str, Decoded]:
    """Empty the splits that nobody asked for; hold others in memory if they fit.

    Never beside the training split, whose run would have to wait for it.

    Raises:
        DatasetError: If a label has no readable image.
    """
    count = sum(len(opened[name].split) for name in wanted)
    found = {}
    for name, part in opened.items():
        split = part.split if name in wanted else part.split[:0]
        if not len(split) or ("train" not in wanted and fit_in_memory(count, spec)):
            split = MemorySplit(split.images, split.targets)
        found[name] = part._replace(split=split)
    return found


def statistics_of(train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the training images, of some of them where they are streamed.

    Raises:
        DatasetError: If a label has no readable image.
    """
    some = sample(train, STATISTICS_IMAGES) if train.is_streamed else train
    return channel_statistics(some.images)
