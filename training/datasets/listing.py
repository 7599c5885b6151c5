"""What lies in a folder: the labels, each split's pictures, and what is neither.

By names alone; no file is opened. A folder that may not be read is named among what is left
out, or refuses the whole where nothing can be told without it.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from training.datasets.dataset import DatasetError
from training.datasets.held import Picture, plain

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Folders of splits, in lower case."""


def list_pictures(root: Path) -> tuple[tuple[str, ...], dict[str, list[Picture]], list[str]]:
    """Find the labels, sorted, each split's files, sorted, and what is no picture.

    Raises:
        DatasetError: If it is no folder that can be read, or has under two labels.
    """
    if not root.is_dir():
        raise DatasetError(f"{plain(root)} is not a folder.")
    if plain(root.absolute()) != str(root.absolute()):  # a run's record and its manifest name it
        raise DatasetError(f"The path {plain(root.absolute())} must be valid UTF-8; rename it.")
    folders = _subfolders(root)
    places, strangers = _places(root)
    labels = tuple(sorted({label.name for place in places for label in _subfolders(place)}))
    if len(labels) < 2:
        raise DatasetError(
            f"{root} must hold one folder per label, at least two, or train/, val/ and test/ "
            f"with those inside; it holds {', '.join(f.name for f in folders[:5]) or 'none'}."
        )
    for label in labels:
        if plain(label) != label:
            raise DatasetError(f"The label {plain(label)} must be valid UTF-8; rename its folder.")
    targets = {label: target for target, label in enumerate(labels)}
    listed: dict[str, list[Picture]] = defaultdict(list)
    others: Counter[str] = Counter()
    for place, split in places.items():
        for folder in _subfolders(place):
            files, closed = _files(folder)
            strangers += closed
            pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
            others.update(path.suffix.lower() for path in set(files).difference(pictures))
            listed[split] += [Picture(path, targets[folder.name]) for path in pictures]
    strangers += [note for place in {root: "", **places} for note in _loose(place)]
    strangers += [
        f"{root}: {count} files {f'of kind {plain(suffix)}' if suffix else 'without a kind'}; "
        f"read are {', '.join(SUFFIXES)}"
        for suffix, count in sorted(others.items())
    ]
    return labels, listed, strangers


def _places(root: Path) -> tuple[dict[Path, str], list[str]]:
    """Find the folders of labels, each with its split; and what lies beside splits."""
    folders = _subfolders(root)
    splits = {path: SPLIT_NAMES.get(path.name.lower(), "") for path in folders}
    if all(splits.values()):
        return (splits or {root: "train"}), []
    divided = {path: split for path, split in splits.items() if split and _subfolders(path)}
    if "train" not in divided.values():  # a label may be called so
        return {root: "train"}, []
    beside = [plain(path) for path in folders if path not in divided]
    return divided, [f"{path}: lies beside the splits, in none of them" for path in beside]


def _loose(place: Path) -> list[str]:
    """Tell of pictures that lie beside the folders of labels."""
    count = sum(path.suffix.lower() in SUFFIXES and path.is_file() for path in place.iterdir())
    return [f"{plain(place)}: {count} pictures lie in no label's folder"] if count else []


def _subfolders(folder: Path) -> list[Path]:
    """Give the folders within, sorted, but hidden ones.

    Raises:
        DatasetError: If the folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(
            f"{plain(folder)} cannot be read: {error.strerror}. Change that, or move it away."
        ) from error

    _, names, _ = next(os.walk(folder, onerror=refuse))
    return sorted(folder / name for name in names if not name.startswith("."))


def _files(folder: Path) -> tuple[list[Path], list[str]]:
    """Give the files at any depth, sorted, but those that a part of their path hides.

    Returns:
        The files, and the folders that cannot be read, each with the reason.
    """
    files: list[Path] = []
    closed: list[str] = []

    def note(error: OSError) -> None:
        closed.append(f"{plain(error.filename)}: the folder cannot be read: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(files), closed
