"""Decide which folders of a data set are splits and which are labels.

Known layouts: `label/*`, `split/label/*` and `label/split/*`, with a folder around all of it, or
around a split's labels. An ambiguous layout is refused: a split is never taken for a label.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, NoReturn

from training.data.dataset import DatasetError
from training.data.split_words import FILLING, UNLABELLED, is_no_label, letters, splits_named
from training.data.splits import plain
from training.data.tree import Folder

EXPECTED_LAYOUT = (
    "Expected: one folder per label, at least two (FOLDER/cat/1.jpg); or these inside "
    "train, val and test (FOLDER/train/cat/1.jpg); or a table of files and labels "
    "(--labels-csv)."
)
SPLITS: Mapping[str, str] = MappingProxyType(
    {
        "train": "training",
        "validation": "validation",
        "calibration": "calibration",
        "test": "test",
    }
)
"""Splits, in the order in which they are reported."""


class Part(NamedTuple):
    """A folder of one label's images in one split."""

    split: str
    label: str
    folder: Folder


@dataclass
class Layout:
    """How a folder was read.

    Attributes:
        parts: The folders of images; some may be empty.
        notes: How the folders were understood, a line each.
        left_out: Files and folders in no split, each with the reason.
    """

    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def passed(self, folder: Folder) -> Folder:
        """Report the files in a folder of labels or splits, which belong to no label."""
        self.left_out += folder.left_out
        if folder.images:
            count = len(folder.images)
            self.left_out.append(
                f"{plain(folder.path)}: ignored {count} images that are in no label's folder"
            )
        return folder


def find_layout(root: Folder, known: Collection[str] = ()) -> Layout:
    """Find the splits and the labels' folders.

    Args:
        root: The data set.
        known: Labels of an earlier run: folders of these names are labels.

    Raises:
        DatasetError: If the layout is ambiguous.
    """
    layout = Layout()
    top = layout.passed(_unwrapped(root, layout, known))
    if top is not root:
        layout.notes.append(f"read the folder `{_inside(root, top)}`")
    divided = _divided(top, layout, known)
    if not divided:
        _add_labels(top, "", layout, known)
        _check_are_labels(top, layout, known)
        return layout
    read = []
    for split, folder in divided.items():
        inner = layout.passed(_unwrapped(folder, layout, known, split))
        _add_labels(inner, split, layout, known)
        if inner.filled:
            read.append(f"`{_inside(top, inner)}` as the {SPLITS[split]} split")
    layout.notes += [f"read {', '.join(read)}"] if read else []
    _check_are_labels(top, layout, known)
    return layout


def _unwrapped(folder: Folder, layout: Layout, known: Collection[str], split: str = "") -> Folder:
    """Descend into the only folder with images, as long as it holds nothing but folders."""
    while len(folder.filled) == 1:
        (only,) = folder.filled
        other = _splits_named(only) and split not in _splits_named(only)
        if only.closed or only.images or other or only.name in known:
            break
        layout.passed(folder)
        folder = only
    return folder


def _divided(top: Folder, layout: Layout, known: Collection[str]) -> dict[str, Folder]:
    """Choose the folders that are splits; none if all are labels.

    Raises:
        DatasetError: If there are both splits and labels.
    """
    named = [one for one in top.filled if _splits_named(one)]
    others = [one for one in top.filled if one not in named]
    holding_labels = [one for one in named if one.filled]
    if not any("train" in _splits_named(one) for one in holding_labels) and others:
        doubtful = [one for one in named if not _may_be_label(one, others, known)]
        if doubtful:
            beside = f"{_names(doubtful)} beside {_names(others)}"
            mixed = "of which some look like splits and some like labels; move or rename some."
            _refuse(top, f"{beside}, {mixed}")
        return {}
    labels = [one for one in others if one.images]
    if labels and not known:
        beside = f"images of {_names(labels)} beside the splits {_names(named)}"
        _refuse(top, f"{beside}; move them into these, or away.")
    assigned = _assigned(top, named)
    layout.left_out += [
        f"{plain(one.path)}: ignored: it is beside the splits, and in none of them"
        for one in top.filled
        if one not in assigned.values()
    ]
    return assigned


def _may_be_label(folder: Folder, others: Iterable[Folder], known: Collection[str]) -> bool:
    """Whether a folder with a split's name is a label: of a run, `train` beside two, `valid`."""
    name, names = folder.name.casefold(), {other.name.casefold() for other in others}
    is_vehicle = name == "train" and len(names) > 1
    is_word = is_vehicle or f"in{name}" in names  # valid, invalid
    return not folder.filled and (folder.name in known or is_word)


def _assigned(parent: Folder, folders: Iterable[Folder]) -> dict[str, Folder]:
    """Assign a folder to each split, in the usual order.

    Raises:
        DatasetError: If two folders are the same split.
    """
    found: dict[str, Folder] = {}
    for folder in sorted(folders, key=lambda one: len(_splits_named(one))):
        options = _splits_named(folder)
        split = next((split for split in options if split not in found), options[0])
        if split in found and split != UNLABELLED:
            both = _names((found[split], folder))
            _refuse(parent, f"{both}, which would both be the {SPLITS[split]} split.")
        found[split] = folder
    return {split: found[split] for split in SPLITS if split in found}


def _add_labels(parent: Folder, split: str, layout: Layout, known: Collection[str]) -> None:
    """Add the folders of a folder as labels.

    Args:
        parent: Holds them.
        split: Their split; empty if there are no splits above them.
        layout: They are added to it.
        known: Labels of an earlier run.

    Raises:
        DatasetError: If they hold further splits or labels.
    """
    doubtful = [one for one in parent.filled if one.name not in known and _has_inner(one)]
    within = [inner for one in doubtful for inner in one.filled]
    splits = [inner for inner in within if _splits_named(inner)]
    is_crossed = splits == within and doubtful == parent.filled and not split
    if is_crossed and all(map(_ends, within)) and not any(one.images for one in doubtful):
        _add_crossed(doubtful, layout)
        return
    if splits:
        seen = f"splits ({_names(splits)}) within {_names(doubtful)}"
        _refuse(parent, f"{seen}, which may be labels or contain labels.{_one_of(doubtful)}")
    deep = [one for one in doubtful if not one.images and not _holds_one_folder(one)]
    if deep:
        within = [inner for one in deep for inner in one.filled]
        seen = f"folders within folders ({_names(within)} within {_names(deep)})"
        _refuse(parent, f"{seen}, either of which may be the labels.{_one_of(deep)}")
    layout.parts += [Part(split or "train", one.name, one) for one in parent.folders]
    mixed = [one for one in doubtful if one.images]
    if mixed:
        inner = _names(inner for one in mixed for inner in one.filled)
        layout.notes.append(
            "note: images in folders inside a label's folder count for this label: "
            f"{inner} in {_names(mixed)}"
        )


def _check_are_labels(top: Folder, layout: Layout, known: Collection[str]) -> None:
    """Refuse folders that are all named like splits or like folders of images.

    Raises:
        DatasetError: If they are.
    """
    named = {part.label: part.folder for part in layout.parts if part.folder.holds_images}
    if named and not any(name in known or not is_no_label(name) for name in named):
        _refuse(top, f"images in {_names(named.values())}, which are not names of labels.")


def _add_crossed(labels: Iterable[Folder], layout: Layout) -> None:
    """Add the splits that lie within each label."""
    read: dict[str, str] = {}
    for label in labels:
        for split, folder in _assigned(label, label.filled).items():
            layout.parts.append(Part(split, label.name, folder))
            read[split] = f"`{folder.name}` in each label as the {SPLITS[split]} split"
    layout.notes.append(f"read {', '.join(read.values())}")


def _splits_named(folder: Folder) -> tuple[str, ...]:
    return splits_named(folder.name)


def _has_inner(folder: Folder) -> bool:
    return not folder.closed and any(not inner.closed for inner in folder.filled)


def _ends(folder: Folder) -> bool:
    return bool(folder.images) and not folder.filled


def _holds_one_folder(label: Folder) -> bool:
    """Whether a label's images are in one folder with its name, or a name like `images`."""
    if len(label.filled) != 1:
        return False
    (only,) = label.filled
    is_called_so = only.name == label.name or re.fullmatch(f"(?:{FILLING})+", letters(only.name))
    return bool(is_called_so and only.images)


def _one_of(folders: Iterable[Folder]) -> str:
    """Name a folder that may be the data set, where the one above it was given."""
    path = next((one.path for one in folders if len(one.filled) > 1), None)
    return f" If one of them is the data set, name it: --data {plain(path)}." if path else ""


def _refuse(folder: Folder, seen: str) -> NoReturn:
    raise DatasetError(f"{plain(folder.path)} has {seen} {EXPECTED_LAYOUT}")


def _names(folders: Iterable[Folder]) -> str:
    """List the first five names, each once."""
    names = list(dict.fromkeys(plain(folder.name) for folder in folders))
    return ", ".join(f"`{name}`" for name in names[:5]) + (", ..." if len(names) > 5 else "")


def _inside(root: Folder, folder: Folder) -> str:
    return plain(folder.path.relative_to(root.path))
