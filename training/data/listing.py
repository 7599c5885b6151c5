"""What lies in a folder: the labels, each split's pictures, and what is neither.

By names alone; no file is opened. A folder that may not be read is named among what is left
out, or refuses the whole where nothing can be told without it.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.dataset import DatasetError
from training.data.labels import refuse_few
from training.data.layout import Layout, find_layout
from training.data.names import label_of, refuse_alike
from training.data.splits import Picture, as_text, plain
from training.data.tree import SUFFIXES, Folder


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
        labels: Sorted; each has a picture, by its name.
        splits: Files of each split, label by label.
        without: Names of folders where labels are, that hold no picture.
        left_out: Files and folders that are not read, each with the reason.
        notes: How the folder was read.
    """

    labels: tuple[str, ...]
    splits: dict[str, list[Picture]]
    without: tuple[str, ...]
    left_out: list[str]
    notes: list[str]


def list_pictures(root: Path, known: Collection[str] = ()) -> Listing:
    """Find the labels, each split's files, sorted, and what is no picture.

    Args:
        root: The folder.
        known: Labels of a run that has read it before.

    Raises:
        DatasetError: If it is no folder that can be read, or its labels make no sense.
    """
    if not root.is_dir():
        raise DatasetError(f"{plain(root)} is not a folder.")
    try:
        as_text(root.absolute()).encode()  # a run's record and its manifest name it
    except UnicodeEncodeError:
        place = plain(root.absolute())
        raise DatasetError(f"The path {place} must be valid UTF-8; rename it.") from None
    top = Folder(root)
    layout = find_layout(top, known)
    named = {part.label for part in layout.parts if part.folder.holds_pictures}
    refuse_alike(named, known)
    labels = tuple(sorted({label_of(name) for name in named}))
    splits, left_out = _gathered(
        root, layout, {name: labels.index(label_of(name)) for name in named}
    )
    refuse_few(root, labels, known, _seen(top, left_out))
    without = sorted({plain(part.label) for part in layout.parts if part.label not in named})
    return Listing(labels, splits, tuple(without), left_out, layout.notes)


def _gathered(
    root: Path, layout: Layout, targets: Mapping[str, int]
) -> tuple[dict[str, list[Picture]], list[str]]:
    """Collect the files of each split, and tell what is left out."""
    splits: dict[str, list[Picture]] = defaultdict(list)
    left_out, others = list(layout.left_out), Counter[str]()
    for part in layout.parts:
        within = list(part.folder.walk())
        left_out += [reason for folder in within for reason in folder.left_out]
        others.update(file.suffix.lower() for folder in within for file in folder.others)
        files = sorted(file for folder in within for file in folder.pictures)
        splits[part.split] += [Picture(file, targets[part.label]) for file in files]
    for suffix, count in sorted(others.items()):
        kind = f"of kind {plain(suffix)}" if suffix else "without a kind"
        left_out.append(f"{plain(root)}: {count} files {kind}; read are {', '.join(SUFFIXES)}")
    return splits, left_out


def _seen(top: Folder, left_out: Sequence[str]) -> str:
    """Tell what lies there in place of labels."""
    folders = [plain(folder.name) for folder in top.folders[:5]]
    seen = f", with the folders {', '.join(folders)}" if folders else ", and no folder within"
    return f"{seen}; {left_out[0]}" if left_out else seen
