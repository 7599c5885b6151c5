"""Labelled pictures from folders: `root/<label>/*` or `root/{train,val,test}/<label>/*`.

The folder's names are the labels, sorted. A file that cannot be read is left out and
named with the reason; it never stops a run. A label without a readable picture is none.
Where there is no `val` or `test` folder, a share of each label is held out, chosen by the seed.
"""

import hashlib
import statistics
from collections.abc import Iterable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from model.images.image_file import DECODE_ERRORS, open_image_file, open_image_path
from model.preprocessing import Pixels, Preprocessing, preprocess, shrink_on_load, upright
from training.data.dataset import Dataset, DatasetError, Split, channel_statistics
from training.data.labels import refuse_unlearnt, settled, warn_of_none
from training.data.listing import list_pictures
from training.data.memory import make_room
from training.data.splits import Picture, hold_out, inside, is_about, plain, split_again


class _Header(NamedTuple):
    shorter_side: int
    is_grey: bool


def read_picture_folder(
    root: Path,
    seed: int = 0,
    size: int | None = None,
    held: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
) -> Dataset:
    """Read a folder of labelled pictures into memory and split it.

    Args:
        root: Holds one folder per label, or `train`, `val`, `test` with those inside.
        seed: Chooses what is held out.
        size: Side of the network's input in pixels; None takes the pictures' usual one.
        held: Files of each split as an earlier reading held them, if most are there still:
            what came since is left out, and no picture changes its split.
        known: Labels of the run whose pictures these are; if the folder's are among them they
            are taken as they stand, in their order.

    Raises:
        DatasetError: If the labels make no sense, or a split has no readable picture.
    """
    listing = list_pictures(root, known)
    notes = listing.notes
    found = {name: _readable(pictures) for name, pictures in listing.splits.items()}
    unreadable = [*listing.left_out, *(reason for _, bad in found.values() for reason in bad)]
    headers = {picture: header for good, _ in found.values() for picture, header in good}
    if not headers:
        raise DatasetError(f"{plain(root)} has no readable picture.{_first(unreadable)}")
    splits: dict[str, list[Picture]] = {"train": []}
    splits |= {name: [picture for picture, _ in good] for name, (good, _) in found.items()}
    there = {inside(picture, root): picture for split in splits.values() for picture in split}
    is_drawn = False
    if held and is_about(held, there):
        splits, changes = split_again(held, there)
        unreadable += [f"{plain(root)}: {change}" for change in changes]
    else:
        drawn = [name for name in ("validation", "test") if not splits.get(name)]
        if is_drawn := bool(drawn):
            notes.append(f"held out for {' and '.join(drawn)}: a tenth of each label's pictures")
        hold_out(splits, "test", seed)
        hold_out(splits, "validation", seed)
    _refuse_empty(root, splits, unreadable)
    refuse_unlearnt(root, splits, listing.labels, known)
    draft = _preprocessing([headers[one] for split in splits.values() for one in split], size)
    arrays, files, sides = {}, {}, {}
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        decoded = _decode(splits[name], draft, root, digest, unreadable)
        arrays[name], files[name], sides[name] = decoded
    _refuse_empty(root, arrays, unreadable)
    tried = {picture.target for split in splits.values() for picture in split}
    later = {picture.target for picture in headers} - tried
    labels, arrays = settled(root, listing.labels, arrays, later, known)
    without = [*listing.without, *(label for label in listing.labels if label not in labels)]
    mean, std = channel_statistics(arrays["train"].images)
    return Dataset(
        name=plain(root.resolve().name),
        source=str(root),
        sha256=digest.hexdigest(),
        labels=labels,
        preprocessing=draft.model_copy(update={"mean": mean, "std": std}),
        train=arrays["train"],
        validation=arrays["validation"],
        test=arrays["test"],
        unreadable=tuple(unreadable),
        sides=sides["validation"],
        files=files,
        is_drawn=is_drawn,
        notes=(*notes, *warn_of_none(without)),
    )


def _refuse_empty(root: Path, splits: Mapping[str, Sized], unreadable: Sequence[str]) -> None:
    empty = [name for name, pictures in splits.items() if not len(pictures)]
    if empty:
        raise DatasetError(
            f"{plain(root)} has no readable picture for {' and '.join(empty)}; add more pictures "
            f"per label, or folders of those names.{_first(unreadable)}"
        )


def _first(reasons: Sequence[str]) -> str:
    return f" {len(reasons)} files were left out, first {reasons[0]}" if reasons else ""


def _readable(
    pictures: Iterable[Picture],
) -> tuple[list[tuple[Picture, _Header]], list[str]]:
    """Open each file as far as its header."""
    good, bad = [], []
    for picture in pictures:
        try:
            with open_image_path(picture.path) as image:
                is_grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
                good.append((picture, _Header(min(image.size), is_grey)))
        except DECODE_ERRORS as error:
            bad.append(_reason(picture.path, error))
    return good, bad


def _reason(path: Path, error: BaseException) -> str:
    said = str(error).replace(repr(str(path)), "").split(str(path))[0]
    detail = " ".join(said.split()).strip(" '\"") or type(error).__name__
    return f"{plain(path)}: {detail}"


def _preprocessing(headers: Sequence[_Header], size: int | None) -> Preprocessing:
    """Take the pictures' usual size up to 64 pixels, else 224 by way of 256; mean and std later."""
    channels = 1 if all(header.is_grey for header in headers) else 3
    usual = int(statistics.median(header.shorter_side for header in headers))
    crop = size or (usual if usual <= 64 else 224)
    resize = crop if crop <= 64 else round(crop * 256 / 224)
    blank = (0.0,) * channels, (1.0,) * channels
    return Preprocessing(resize=resize, crop=crop, channels=channels, mean=blank[0], std=blank[1])


def _decode(
    pictures: Sequence[Picture],
    spec: Preprocessing,
    root: Path,
    digest: "hashlib._Hash",
    unreadable: list[str],
) -> tuple[Split, tuple[str, ...], tuple[int, ...]]:
    """Decode a split into one array; name its files and give their shorter sides in pixels.

    What turns out broken is left out.
    """

    def decode(picture: Picture) -> tuple[bytes, Pixels, int] | str:
        try:
            data = picture.path.read_bytes()
            image = open_image_file(data)
            side = min(image.size)
            shrink_on_load(image, spec)
            pixels = preprocess(upright(image), spec)
            return hashlib.sha256(data).digest(), pixels, side
        except DECODE_ERRORS as error:
            return _reason(picture.path, error)

    images = make_room((len(pictures), spec.crop, spec.crop, spec.channels))
    targets: list[int] = []
    names: list[str] = []
    sides: list[int] = []
    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it decodes
        for picture, decoded in zip(pictures, pool.map(decode, pictures), strict=True):
            if isinstance(decoded, str):
                unreadable.append(decoded)
                continue
            file_digest, images[len(targets)], side = decoded
            sides.append(side)
            names.append(inside(picture, root))
            digest.update(names[-1].encode("utf-8", "surrogateescape") + file_digest)
            targets.append(picture.target)
    stacked = torch.from_numpy(images[: len(targets)])
    split = Split(stacked, torch.tensor(targets, dtype=torch.long))
    return split, tuple(names), tuple(sides)
