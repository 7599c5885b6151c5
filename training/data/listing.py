"""List a folder, or a table of its files: labels, each split's image files, what is neither.

By names alone; no file is opened. A folder that may not be read is left out and reported, or
refused if nothing can be decided without it.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.dataset import DatasetError
from training.data.labels import check_label_count
from training.data.labels_csv import read_table
from training.data.layout import Layout, find_layout
from training.data.names import check_labels_differ, label_of
from training.data.split_words import splits_named
from training.data.splits import LabelledFile, as_text, plain
from training.data.tree import IMAGE_SUFFIXES, OTHER_IMAGES, Folder


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
        labels: Sorted; each has an image file, by its name.
        splits: Files of each split, label by label.
        without: Names of labels' folders that hold no image.
        left_out: Files and folders that are not read, each with the reason.
        notes: How the folder was read.
    """

    labels: tuple[str, ...]
    splits: dict[str, list[LabelledFile]]
    without: tuple[str, ...]
    left_out: list[str]
    notes: list[str]


def list_images(root: Path, known: Collection[str] = (), labels_csv: Path | None = None) -> Listing:
    """Find the labels, each split's files, sorted, and the files that are no images.

    Args:
        root: The folder.
        known: Labels of an earlier run on it.
        labels_csv: A table of files and labels below the folder; None: folders' names are labels.

    Raises:
        DatasetError: If it is no readable folder, or its labels make no sense.
    """
    if not root.is_dir():
        raise DatasetError(f"{plain(root)} is not a folder.")
    try:
        as_text(root.absolute()).encode()  # it is written into run records and manifests
    except UnicodeEncodeError:
        path = plain(root.absolute())
        raise DatasetError(f"The path {path} must be valid UTF-8; rename it.") from None
    if labels_csv is not None:
        return _list_table(labels_csv, root, known)
    top = Folder(root)
    layout = find_layout(top, known)
    named = {part.label for part in layout.parts if part.folder.holds_images}
    check_labels_differ(named, known)
    labels = tuple(sorted({label_of(name) for name in named}))
    splits, left_out = _collect(
        root, layout, {name: labels.index(label_of(name)) for name in named}
    )
    check_label_count(root, labels, known, _describe(top, left_out))
    without = sorted({plain(part.label) for part in layout.parts if part.label not in named})
    return Listing(labels, splits, tuple(without), left_out, layout.notes)


def _list_table(labels_csv: Path, root: Path, known: Collection[str]) -> Listing:
    """Take labels and splits from a table.

    Raises:
        DatasetError: If it cannot be used.
    """
    table = read_table(labels_csv, root)
    named = {file.label for file in table.files}
    check_labels_differ(named, known)
    if all(splits_named(name) for name in named):
        raise DatasetError(
            f"{plain(labels_csv)} has the labels {', '.join(sorted(named))}, which are words for "
            "splits. Name the columns `path`, `label` and `split` in its first line."
        )
    labels = tuple(sorted({label_of(name) for name in named}))
    check_label_count(root, labels, known, f", in {plain(labels_csv)}")
    targets = {name: labels.index(label_of(name)) for name in named}
    splits: dict[str, list[LabelledFile]] = defaultdict(list)
    for file in table.files:
        splits[file.split or "train"].append(LabelledFile(file.path, targets[file.label]))
    for files in splits.values():
        files.sort(key=lambda file: (file.target, file.path))
    return Listing(labels, splits, (), table.left_out, table.notes)


def _collect(
    root: Path, layout: Layout, targets: Mapping[str, int]
) -> tuple[dict[str, list[LabelledFile]], list[str]]:
    """Collect the files of each split; report what is left out."""
    splits: dict[str, list[LabelledFile]] = defaultdict(list)
    left_out, others = list(layout.left_out), Counter[str]()
    for part in layout.parts:
        within = list(part.folder.walk())
        left_out += [reason for folder in within for reason in folder.left_out]
        others.update(file.suffix.lower() for folder in within for file in folder.others)
        files = sorted(file for folder in within for file in folder.images)
        splits[part.split] += [LabelledFile(file, targets[part.label]) for file in files]
    left_out += [_not_read(root, suffix, count) for suffix, count in sorted(others.items())]
    return splits, left_out


def _not_read(root: Path, suffix: str, count: int) -> str:
    """Say of files of one kind that they are not read, and what to do with images among them."""
    kind = f"of kind {plain(suffix)}" if suffix else "without a kind"
    files = f"1 file {kind} is" if count == 1 else f"{count:,} files {kind} are"
    way = "convert to one of" if suffix in OTHER_IMAGES else "images are"
    return f"{plain(root)}: {files} not read; {way} {', '.join(IMAGE_SUFFIXES)}"


def _describe(top: Folder, left_out: Sequence[str]) -> str:
    """Say what is there instead of labels."""
    folders = [plain(folder.name) for folder in top.folders[:5]]
    seen = f", with the folders {', '.join(folders)}" if folders else ", and no folder within"
    return f"{seen}; {left_out[0]}" if left_out else seen
