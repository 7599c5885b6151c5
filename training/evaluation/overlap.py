"""Images that a run may have learnt from do not measure it: find them by their contents."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from training.data.dataset import DatasetError
from training.data.listing import list_images
from training.data.splits import LabelledFile, as_path
from training.runs.folder import RunFolder
from training.runs.record import RunRecord

TAUGHT = ("train", "validation")
"""Splits that weights or choices of a run come from."""


def is_own_data(record: RunRecord, root: Path, checkpoint: Path) -> bool:
    """Whether a folder is the run's own, or holds most of its files under the same names."""
    if root.resolve() == as_path(record.dataset_source).resolve():
        return True
    names = [name for files in _divided(checkpoint).values() for name in files]
    return 2 * sum((root / as_path(name)).is_file() for name in names) > len(names)


def split_copies(
    record: RunRecord, checkpoint: Path, files: Iterable[LabelledFile]
) -> tuple[list[LabelledFile], list[LabelledFile]] | None:
    """Divide files into those that the run never saw, and copies of what it learnt from.

    Returns:
        Both; None if the images that the run learnt from are no longer where they were.
    """
    taught = [path for path in _taught(record, checkpoint) if path.is_file()]
    if not taught:
        return None
    given = {file: file.path.stat().st_size for file in files if file.path.is_file()}
    sizes = set(given.values())
    digests = {_digest(path) for path in taught if path.stat().st_size in sizes}
    known = {path.stat().st_size for path in taught}
    copies = {
        file for file, size in given.items() if size in known and _digest(file.path) in digests
    }
    kept = [file for file in given if file not in copies]
    return kept, [file for file in given if file in copies]


def _taught(record: RunRecord, checkpoint: Path) -> list[Path]:
    """List the files of the run's training and validation splits, where they were."""
    root, divided = as_path(record.dataset_source), _divided(checkpoint)
    if divided:
        return [root / as_path(name) for split in TAUGHT for name in divided.get(split, ())]
    try:
        listing = list_images(root, record.labels, record.table)
    except DatasetError:
        return []
    return [file.path for split in TAUGHT for file in listing.splits.get(split, ())]


def _divided(checkpoint: Path) -> dict[str, list[str]]:
    try:
        found = json.loads(RunFolder.of(checkpoint).splits.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
