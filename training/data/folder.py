"""Labelled images from folders: `root/<label>/*` or `root/{train,val,test}/<label>/*`.

The folders' names are the labels, sorted. A file that cannot be read is left out and reported
with the reason; it never stops a run. A label without a readable image is dropped. Where there is
no `val` or `test` folder, a share of each label is held out, chosen by the seed.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import NamedTuple

from model.preprocessing import Preprocessing
from training.data.dataset import SPLIT_NAMES, Dataset, DatasetError, channel_statistics
from training.data.decode import Decoded, decode_files, hash_files
from training.data.headers import Header, choose_preprocessing, read_headers
from training.data.labels import check_every_label_is_trained, empty_label_warnings, final_labels
from training.data.listing import Listing, list_images
from training.data.splits import LabelledFile, inside, matches, plain, split_again, split_off


class _Division(NamedTuple):
    """Which file is in which split.

    Attributes:
        splits: Files of each split.
        is_drawn: Whether some splits were drawn at random.
        notes: What was held out.
        left_out: Files that are in no split, each with the reason.
    """

    splits: dict[str, list[LabelledFile]]
    is_drawn: bool
    notes: list[str]
    left_out: list[str]


def read_image_folder(  # noqa: PLR0913  # which files, how they are divided, and which to decode
    root: Path,
    seed: int = 0,
    size: int | None = None,
    held: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
    *,
    splits: Collection[str] = SPLIT_NAMES,
) -> Dataset:
    """Read a folder of labelled images into memory and split it.

    Args:
        root: Holds one folder per label, or `train`, `val`, `test` with those inside.
        seed: Chooses the held-out images.
        size: Of the network's input in pixels; None: the images' usual one.
        held: Files of each split in an earlier run. If most of them are still there, each stays
            in its split, and new files are left out.
        known: Labels of the run whose images these are. If they include the folder's labels, the
            data set has them all, in their order.
        splits: The splits to decode. Of the others the files are hashed only, and they come out
            empty; a file of theirs that only decoding would find broken counts as readable.

    Raises:
        DatasetError: If the labels make no sense, or a split has no readable image.
    """
    listing = list_images(root, known)
    files = [file for split in listing.splits.values() for file in split]
    headers, broken = read_headers(files)
    unreadable = [*listing.left_out, *broken]
    if not headers:
        raise DatasetError(f"{plain(root)} has no readable image.{_first(unreadable)}")
    division = _divide(root, listing, headers, seed, held)
    unreadable += division.left_out
    _check_no_split_is_empty(root, division.splits, unreadable)
    check_every_label_is_trained(root, division.splits, listing.labels, known)
    spec = choose_preprocessing([headers[file] for file in _all(division.splits)], size)
    decoded = _decode(root, division.splits, spec, splits, unreadable)
    new = {file.target for file in headers} - {file.target for file in _all(division.splits)}
    used = new.union(*(part.targets for part in decoded.values()))
    arrays = {name: part.split for name, part in decoded.items()}
    labels, arrays = final_labels(root, listing.labels, arrays, used, known)
    without = [*listing.without, *(label for label in listing.labels if label not in labels)]
    if "train" in splits:
        mean, std = channel_statistics(arrays["train"].images)
        spec = spec.model_copy(update={"mean": mean, "std": std})
    return Dataset(
        name=plain(root.resolve().name),
        source=str(root),
        sha256=_digest(decoded.values()),
        labels=labels,
        preprocessing=spec,
        train=arrays["train"],
        validation=arrays["validation"],
        test=arrays["test"],
        unreadable=tuple(unreadable),
        shorter_sides=decoded["validation"].shorter_sides,
        files={name: part.files for name, part in decoded.items()},
        is_drawn=division.is_drawn,
        notes=(*listing.notes, *division.notes, *empty_label_warnings(without)),
    )


def _divide(
    root: Path,
    listing: Listing,
    headers: Mapping[LabelledFile, Header],
    seed: int,
    held: Mapping[str, Sequence[str]] | None,
) -> _Division:
    """Divide the readable files: as the earlier run did, as the folders say, or at random."""
    splits: dict[str, list[LabelledFile]] = {"train": []}
    splits |= {
        name: [file for file in files if file in headers] for name, files in listing.splits.items()
    }
    there = {inside(file, root): file for file in _all(splits)}
    if held and matches(held, there):
        splits, changes = split_again(held, there)
        return _Division(splits, False, [], [f"{plain(root)}: {change}" for change in changes])
    drawn = [name for name in ("validation", "test") if not splits.get(name)]
    split_off(splits, "test", seed)
    split_off(splits, "validation", seed)
    note = f"held out for {' and '.join(drawn)}: a tenth of each label's images"
    return _Division(splits, bool(drawn), [note] if drawn else [], [])


def _decode(
    root: Path,
    files: Mapping[str, Sequence[LabelledFile]],
    spec: Preprocessing,
    wanted: Collection[str],
    unreadable: list[str],
) -> dict[str, Decoded]:
    """Decode the wanted splits, hash the others, and add broken files to `unreadable`.

    Raises:
        DatasetError: If no file of a split is left.
    """
    decoded = {
        name: (decode_files if name in wanted else hash_files)(files[name], spec, root)
        for name in SPLIT_NAMES
    }
    unreadable += [reason for part in decoded.values() for reason in part.unreadable]
    left = {name: part.files for name, part in decoded.items()}
    _check_no_split_is_empty(root, left, unreadable)
    return decoded


def _all(splits: Mapping[str, Iterable[LabelledFile]]) -> list[LabelledFile]:
    return [file for files in splits.values() for file in files]


def _digest(decoded: Iterable[Decoded]) -> str:
    """Hash names and contents of all files, split by split."""
    digest = hashlib.sha256()
    for part in decoded:
        for name, content in zip(part.files, part.digests, strict=True):
            digest.update(name.encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()


def _check_no_split_is_empty(
    root: Path, splits: Mapping[str, Sized], unreadable: Sequence[str]
) -> None:
    empty = [name for name, files in splits.items() if not len(files)]
    if empty:
        raise DatasetError(
            f"{plain(root)} has no readable image for {' and '.join(empty)}. Add more images per "
            f"label, or add folders with these names.{_first(unreadable)}"
        )


def _first(reasons: Sequence[str]) -> str:
    return f" {len(reasons)} files were left out, the first is {reasons[0]}" if reasons else ""
