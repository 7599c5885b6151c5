"""Digests of a folder's files: two data sets with one digest hold the same images."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from model.preprocessing import Preprocessing
from training.data.decode import Decoded, hash_files
from training.data.splits import LabelledFile


def digest(decoded: Iterable[Decoded], labels: Sequence[str], *, by_keys: bool = False) -> str:
    """Hash names and contents of all files, whatever split each is in.

    Args:
        decoded: The splits.
        labels: Of the targets, where the names do not say them.
        by_keys: Take the files' keys for their contents, as a large folder does.
    """
    named = sorted(
        (f"{name}{labels and chr(0) + labels[target]}".encode("utf-8", "surrogateescape"), content)
        for part in decoded
        for name, target, content in zip(
            part.files, part.targets, part.keys if by_keys else part.digests, strict=True
        )
    )
    return hashlib.sha256(b"".join(name + content for name, content in named)).hexdigest()


def other_digests(
    root: Path,
    files: Mapping[str, Sequence[LabelledFile]],
    decoded: Mapping[str, Decoded],
    spec: Preprocessing,
    labels: Sequence[str],
) -> set[str]:
    """Give the digests of runs that had these images on another machine, or before.

    A folder may be large on one machine and not on another, which has more memory. Of a large one
    all files are read: minutes, where only their ends were read so far.

    Args:
        root: The folder.
        files: Of each split.
        decoded: The splits.
        spec: Of the images.
        labels: See `digest`.
    """
    is_large = all(part.digests == part.keys for part in decoded.values())
    whole = {name: hash_files(files[name], spec, root) for name in files} if is_large else decoded
    found = {digest(whole.values(), labels, by_keys=not is_large)}
    return found if labels else found | {_digest_by_split(whole.values())}


def _digest_by_split(decoded: Iterable[Decoded]) -> str:
    """Hash the files split by split, in the order of the splits: as runs were recorded before."""
    found = hashlib.sha256()
    for part in decoded:
        for name, content in zip(part.files, part.digests, strict=True):
            found.update(name.encode("utf-8", "surrogateescape") + content)
    return found.hexdigest()
