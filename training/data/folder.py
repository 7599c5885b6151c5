"""Labelled images: `root/<label>/*`, `root/{train,val,test}/<label>/*`, or a table of files.

The folders' names are the labels, sorted. A file that cannot be read is left out and reported
with the reason; it never stops a run. A label without a readable image is dropped. Where there is
no `val` folder, a share of each label is held out, chosen by the images' content; where there is
one and no `test` folder, there is no test split. Half of many validation images are the
calibration split.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import NamedTuple

from model.preprocessing import Preprocessing
from training.data.bit_depth import used_bits
from training.data.dataset import SPLIT_NAMES, Dataset, DatasetError
from training.data.decode import Decoded, decode_files, hash_files
from training.data.digest import digest, other_digests
from training.data.division import MIN_TO_HALVE, Key, divide, is_for_calibration, keys_of
from training.data.headers import choose_preprocessing
from training.data.labels import check_every_label_is_trained, empty_label_warnings, final_labels
from training.data.large import Look, look_at, only_wanted, open_split, statistics_of
from training.data.listing import Listing, list_images
from training.data.splits import LabelledFile, inside, matches, plain, split_again


class _Division(NamedTuple):
    """Which file is in which split.

    Attributes:
        splits: Files of each split.
        is_drawn: Whether some splits were chosen by the images' content.
        notes: What was held out.
        left_out: Files that are in no split, each with the reason.
    """

    splits: dict[str, list[LabelledFile]]
    is_drawn: bool
    notes: list[str]
    left_out: list[str]


def read_image_folder(  # noqa: PLR0913  # which files, how they are divided, and which to decode
    root: Path,
    size: int | None = None,
    held: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
    *,
    splits: Collection[str] = SPLIT_NAMES,
    group_by: str | None = None,
    labels_csv: Path | None = None,
    like: Preprocessing | None = None,
    calibrate: bool = True,
) -> Dataset:
    """Read a folder of labelled images and split it; a large one is not decoded before it is used.

    Args:
        root: Holds one folder per label, or `train`, `val`, `test` with those inside.
        size: Of the network's input in pixels; None: the images' usual one.
        held: Files of each split in an earlier run. If most of them are still there, each stays
            in its split, and new files are left out.
        known: Labels of the run whose images these are. If they include the folder's labels, the
            data set has them all, in their order.
        splits: The splits to decode; `test` stands for `validation` where there is no test split.
            Of the others the files are hashed only, and they come out empty; a file of theirs
            that only decoding would find broken counts as readable.
        group_by: A regular expression; files whose paths match alike stay in one split.
        labels_csv: A table of files and labels; None: folders' names are labels.
        like: Preprocessing of a network that is there already, see `choose_preprocessing`.
        calibrate: Take half of many validation images for the calibration split.

    Raises:
        DatasetError: If the labels make no sense, or a split has no readable image.
    """
    listing = list_images(root, known, labels_csv)
    files = [file for split in listing.splits.values() for file in split]
    look = look_at(files, size)
    unreadable = [*listing.left_out, *look.broken]
    if not look.headers:
        raise DatasetError(f"{plain(root)} has no readable image.{_first(unreadable)}")
    division = _divide_again(root, listing, look, held)
    if division is None:
        division = _divide(root, listing, look, group_by)
        division = _calibrating(division, root, look, group_by) if calibrate else division
    unreadable += division.left_out
    splits = _measurable(splits, division.splits)
    _check_no_split_is_empty(root, division.splits, splits, unreadable)
    check_every_label_is_trained(root, division.splits, listing.labels, known)
    seen = [look.headers[file] for file in _all(division.splits) if file in look.headers]
    spec = choose_preprocessing(seen or list(look.headers.values()), size, like)
    told = ""
    if like is None:
        bits, told = used_bits([file for file, header in look.headers.items() if header.is_deep])
        spec = spec.model_copy(update={"grey_bits": bits})
    decoded = _decode(root, division.splits, spec, splits, look.keys)
    unreadable += [reason for part in decoded.values() for reason in part.unreadable]
    left = {name: part.files for name, part in decoded.items()}
    _check_no_split_is_empty(root, left, splits, unreadable)
    new = {file.target for file in look.readable} - {file.target for file in _all(division.splits)}
    named = listing.labels if labels_csv else ()
    used = new.union(*(part.targets for part in decoded.values()))
    read = {name: part.split for name, part in decoded.items()}
    labels, arrays = final_labels(root, listing.labels, read, used, known)
    without = [*listing.without, *(label for label in listing.labels if label not in labels)]
    if "train" in splits:
        mean, std = statistics_of(arrays["train"])
        spec = spec.model_copy(update={"mean": mean, "std": std})
    return Dataset(
        name=plain(root.resolve().name),
        source=str(root),
        sha256=digest(decoded.values(), named),
        other_digests=lambda: other_digests(root, division.splits, decoded, spec, named),
        labels=labels,
        preprocessing=spec,
        train=arrays["train"],
        validation=arrays["validation"],
        calibration=arrays["calibration"],
        test=arrays["test"],
        unreadable=tuple(unreadable),
        shorter_sides=decoded["validation"].shorter_sides,
        files={name: part.files for name, part in decoded.items()},
        is_drawn=division.is_drawn,
        labels_csv=None if labels_csv is None else str(labels_csv),
        notes=(
            *listing.notes,
            *division.notes,
            *filter(None, [told]),
            *empty_label_warnings(without),
        ),
    )


def _readable(listing: Listing, look: Look) -> dict[str, list[LabelledFile]]:
    """Return the readable files of each split, as the folders say."""
    return {
        name: [file for file in listing.splits.get(name, ()) if file in look.readable]
        for name in SPLIT_NAMES
    }


def _divide_again(
    root: Path, listing: Listing, look: Look, held: Mapping[str, Sequence[str]] | None
) -> _Division | None:
    """Divide the readable files as the earlier run did; None if most of its files are not there."""
    there = {inside(file, root): file for file in _all(_readable(listing, look))}
    if not held or not matches(held, there):
        return None
    splits, changes = split_again(held, there)
    return _Division(splits, False, [], [f"{plain(root)}: {change}" for change in changes])


def _divide(root: Path, listing: Listing, look: Look, group_by: str | None) -> _Division:
    """Divide the readable files as the folders say, or by content."""
    splits = _readable(listing, look)
    if splits["validation"]:
        if splits["test"]:
            return _Division(splits, False, [], [])
        note = (
            "there is no test split: figures will be those of the validation split, which "
            "also chose the epoch"
        )
        return _Division(splits, False, [note], [])
    drawn = [name for name in ("validation", "test") if not splits[name]]
    if not splits["train"]:
        return _Division(splits, False, [], [])
    splits |= divide(splits["train"], keys_of(splits["train"], root, group_by, look.keys), drawn)
    note = (
        f"taken for {' and '.join(drawn)}: about a tenth of each label's images, chosen by content"
    )
    return _Division(splits, True, [note], [])


def _calibrating(division: _Division, root: Path, look: Look, group_by: str | None) -> _Division:
    """Take half of the validation images for a calibration split, if they are many."""
    splits, files = division.splits, division.splits["validation"]
    if splits["calibration"] or len(files) < MIN_TO_HALVE:
        return division
    halves: dict[str, list[LabelledFile]] = {"validation": [], "calibration": []}
    for file, key in zip(files, keys_of(files, root, group_by, look.keys), strict=True):
        halves["calibration" if is_for_calibration(key) else "validation"].append(file)
    note = (
        "half of the validation images, chosen by content, are the calibration split: it "
        "chooses nothing"
    )
    return division._replace(splits=splits | halves, notes=[*division.notes, note])


def _measurable(wanted: Collection[str], splits: Mapping[str, Sized]) -> set[str]:
    """Put the validation split in the place of a test split that there is not."""
    found = set(wanted)
    return found - {"test"} | {"validation"} if "test" in found and not splits["test"] else found


def _decode(
    root: Path,
    files: Mapping[str, Sequence[LabelledFile]],
    spec: Preprocessing,
    wanted: Collection[str],
    keys: Mapping[LabelledFile, Key] | None,
) -> dict[str, Decoded]:
    """Decode the wanted splits and hash the others; of a large folder only open them."""
    if keys is not None:
        opened = {name: open_split(files[name], spec, root, keys) for name in SPLIT_NAMES}
        return only_wanted(opened, wanted, spec)
    return {
        name: (decode_files if name in wanted else hash_files)(files[name], spec, root)
        for name in SPLIT_NAMES
    }


def _all(splits: Mapping[str, Iterable[LabelledFile]]) -> list[LabelledFile]:
    return [file for files in splits.values() for file in files]


def _check_no_split_is_empty(
    root: Path,
    splits: Mapping[str, Sized],
    wanted: Collection[str],
    unreadable: Sequence[str],
) -> None:
    needed = set(wanted) - {"calibration"}
    empty = [name for name in SPLIT_NAMES if name in needed and not len(splits[name])]
    if not empty:
        return
    if "train" in empty:
        way = "Put the training images into one folder per label, in FOLDER or in FOLDER/train."
    else:
        way = (
            "One image per split is taken from each label with three or more "
            "different images or groups. Add images, or move some into "
            "FOLDER/val/LABEL and the others into FOLDER/train/LABEL."
        )
    raise DatasetError(
        f"{plain(root)} has no readable images for the split {' and '.join(empty)}. "
        f"{way}{_first(unreadable)}"
    )


def _first(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - 1:,} more such lines" if len(reasons) > 1 else ""
    return f" Left out: {reasons[0].rstrip('.')}{more}." if reasons else ""
