"""Choose the split of each file by its content: the same image is always in the same split.

A file's key is a hash. Its position between 0 and 1 decides: the first tenth is for the test, the
second for validation. No seed and no other file has a part in it, so a split stays as it is
when images are added. Copies have one key, and so has a group (`--group-by`). The second half
of the key divides the validation images again: half of them are the calibration split.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from training.data.dataset import DatasetError
from training.data.splits import LabelledFile, inside, plain

HELD_OUT_SHARE = 0.1
"""Share of the images for validation, and as much for the test, where no folder says so."""
END_BYTES = 65_536
"""Read at the begin and at the end of a file: with its size they stand for its content."""
MIN_TO_HALVE = 1_000
"""With fewer validation images there is no calibration split: each half would choose too badly."""
FILES_A_TASK = 256
"""A thread reads so many: handing over single files would take as long as reading them."""
MIN_UNITS = 3
"""A label with fewer different images, or groups, is for training alone."""

Key = bytes
KEY_BYTES = 16
_Node = tuple[int, Key]
"""0 and a group's hash, or 1 and a file's: a group's name is the smaller one."""


def divide(
    files: Sequence[LabelledFile], keys: Sequence[Key], drawn: Collection[str]
) -> dict[str, list[LabelledFile]]:
    """Divide files by their keys; files with one key stay together.

    A label with at least three different keys gets one in each split: where hashing gives a split
    none, the nearest key moves there. It moves back when images are added that hash there.

    Args:
        files: Of the training split.
        keys: Of each file, see `keys_of`.
        drawn: The splits to fill: `validation`, `test`.

    Returns:
        Files of `train` and of the drawn splits, in the order given.
    """
    split_of = {key: _split_of(position(key), drawn) for key in keys}
    by_target: dict[int, set[Key]] = defaultdict(set)
    for file, key in zip(files, keys, strict=True):
        by_target[file.target].add(key)
    small = {target for target, its in by_target.items() if len(its) < MIN_UNITS}
    for target in sorted(by_target.keys() - small):
        _fill(sorted(by_target[target]), split_of, drawn)
    split_of |= {key: "train" for target in small for key in by_target[target]}
    divided: dict[str, list[LabelledFile]] = {name: [] for name in ("train", *drawn)}
    for file, key in zip(files, keys, strict=True):
        divided[split_of[key]].append(file)
    return divided


def position(key: Key) -> float:
    """Return where a key is between 0 and 1."""
    return int.from_bytes(key[:8], "big") / 2**64


def is_for_calibration(key: Key) -> bool:
    """Whether a validation image with this key belongs to the calibration split."""
    return position(key[8:]) < 0.5


def _split_of(place: float, drawn: Collection[str]) -> str:
    if place < HELD_OUT_SHARE:
        return "test" if "test" in drawn else "train"
    return "validation" if place < 2 * HELD_OUT_SHARE and "validation" in drawn else "train"


def _fill(keys: Sequence[Key], split_of: dict[Key, str], drawn: Collection[str]) -> None:
    """Give each split one of a label's keys, at least; keys are in order, and three or more."""
    for name, ideal in (("train", 1.0), ("test", 0.0), ("validation", 1.5 * HELD_OUT_SHARE)):
        counts = Counter(split_of[key] for key in keys)
        if counts[name] or name not in {"train", *drawn}:
            continue
        giver = "train" if counts["train"] > 1 else counts.most_common(1)[0][0]
        able = [key for key in keys if split_of[key] == giver]
        split_of[min(able, key=lambda key: abs(position(key) - ideal))] = name


def keys_of(
    files: Sequence[LabelledFile],
    root: Path,
    group_by: str | None = None,
    known: Mapping[LabelledFile, Key] | None = None,
) -> list[Key]:
    """Return the key of each file: of its content, or its group's.

    A group and the copies of its images have one key, whatever other groups they are in.

    Args:
        files: To be divided.
        root: The data set.
        group_by: See `groups_of`; None: no groups.
        known: Keys of their contents, if they were read already.

    Raises:
        DatasetError: If the expression is wrong, or matches no file.
    """
    contents = content_keys(files) if known is None else [known[file] for file in files]
    if group_by is None:
        return contents
    return _joined(contents, groups_of([inside(file, root) for file in files], group_by))


def content_keys(files: Sequence[LabelledFile]) -> list[Key]:
    """Return the key of each file's content."""
    tasks = (files[start : start + FILES_A_TASK] for start in range(0, len(files), FILES_A_TASK))
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda task: [content_key(file.path) for file in task], tasks)
        return [key for keys in found for key in keys]


def content_key(path: Path) -> Key:
    """Hash a file's size and ends; of one that cannot be read, its name."""
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            size, start = os.fstat(file).st_size, os.read(file, END_BYTES)
            end = os.pread(file, END_BYTES, max(len(start), size - END_BYTES))
        finally:
            os.close(file)
    except OSError:
        return _hash(plain(path.name).encode())
    return _hash(b"%d " % size + start + end)


def key_of(data: bytes) -> Key:
    """Return the key of a file from its content."""
    start = data[:END_BYTES]
    end = data[max(len(start), len(data) - END_BYTES) :]
    return _hash(b"%d " % len(data) + start + end)


def groups_of(names: Iterable[str], group_by: str) -> list[str | None]:
    """Return the group of each file: what the expression's first group, or all of it, matches.

    Args:
        names: Paths within the data set, with `/`.
        group_by: A regular expression, searched in each.

    Raises:
        DatasetError: If it is none, or matches no file.
    """
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise DatasetError(
            f"--group-by {group_by!r} is not a valid regular expression: {error}. See "
            "the examples in docs/training.md."
        ) from error
    names = list(names)
    found = [pattern.search(name) for name in names]
    if names and not any(found):
        raise DatasetError(
            f"--group-by {group_by!r} matches no file. It is searched in paths such as "
            f"{plain(names[0])}."
        )
    return [match and (match[1] if pattern.groups else match[0]) for match in found]


def _joined(contents: Sequence[Key], groups: Sequence[str | None]) -> list[Key]:
    """Give one key to all files that are connected by groups and copies."""
    parent: dict[_Node, _Node] = {}

    def top(node: _Node) -> _Node:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for content, group in zip(contents, groups, strict=True):
        if group is not None:
            name = _hash(group.encode("utf-8", "surrogateescape"))
            first, second = sorted((top((0, name)), top((1, content))))
            parent[second] = first
    return [top((1, content))[1] for content in contents]


def _hash(data: bytes) -> Key:
    return blake2b(data, digest_size=KEY_BYTES).digest()
