"""Labelled pictures from folders: `root/<label>/*` or `root/{train,val,test}/<label>/*`.

The folder's names are the labels, sorted. A file that cannot be read is left out and
named with the reason; it never stops a run. Where there is no `val` or `test` folder,
a share of each label is held out, chosen by the seed.
"""

import hashlib
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

from model.image_file import open_image_file, open_image_path
from model.preprocessing import (
    BROKEN,
    Pixels,
    Preprocessing,
    preprocess,
    shrink_on_load,
    upright,
)
from training.datasets.dataset import Dataset, DatasetError, Split, channel_statistics
from training.datasets.held import Picture, hold_out, inside, is_about, plain, split_again
from training.datasets.listing import list_pictures
from training.datasets.room import make_room


class _Header(NamedTuple):
    shorter_side: int
    is_grey: bool


def read_picture_folder(
    root: Path,
    seed: int = 0,
    size: int | None = None,
    held: Mapping[str, Sequence[str]] | None = None,
) -> Dataset:
    """Read a folder of labelled pictures into memory and split it.

    Args:
        root: Holds one folder per label, or `train`, `val`, `test` with those inside.
        seed: Chooses what is held out.
        size: Side of the network's input in pixels; None takes the pictures' usual one.
        held: Files of each split as an earlier reading held them, if most are there still:
            what came since is left out, and no picture changes its split.

    Raises:
        DatasetError: If there are under two labels, or a split has no readable picture.
    """
    labels, listed, strangers = list_pictures(root)
    found = {name: _readable(pictures) for name, pictures in listed.items()}
    unreadable = [*strangers, *(reason for _, bad in found.values() for reason in bad)]
    headers = {picture: header for good, _ in found.values() for picture, header in good}
    if not headers:
        raise DatasetError(f"{root} has no readable picture. {_first(unreadable)}")
    splits: dict[str, list[Picture]] = {"train": []}
    splits |= {name: [picture for picture, _ in good] for name, (good, _) in found.items()}
    there = {inside(picture, root): picture for split in splits.values() for picture in split}
    is_drawn = False
    if held and is_about(held, there):
        splits, changes = split_again(held, there)
        unreadable += [f"{plain(root)}: {change}" for change in changes]
    else:
        is_drawn = not (splits.get("test") and splits.get("validation"))
        hold_out(splits, "test", seed)
        hold_out(splits, "validation", seed)
    _refuse_empty(root, splits, unreadable)
    draft = _preprocessing([headers[one] for split in splits.values() for one in split], size)
    arrays, files, sides = {}, {}, {}
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        decoded = _decode(splits[name], draft, root, digest, unreadable)
        arrays[name], files[name], sides[name] = decoded
    _refuse_empty(root, arrays, unreadable)
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
    )


def _refuse_empty(root: Path, splits: Mapping[str, Sized], unreadable: Sequence[str]) -> None:
    empty = [name for name, pictures in splits.items() if not len(pictures)]
    if empty:
        raise DatasetError(
            f"{root} has no readable picture for {' and '.join(empty)}; with more pictures a "
            f"label, or a folder of that name, there is. {_first(unreadable)}"
        )


def _first(reasons: Sequence[str]) -> str:
    return f"{len(reasons)} files were left out, first {reasons[0]}" if reasons else ""


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
        except BROKEN as error:
            bad.append(_reason(picture.path, error))
    return good, bad


def _reason(path: Path, error: BaseException) -> str:
    detail = str(error).split(str(path))[0].strip(" '\"") or type(error).__name__
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
        except BROKEN as error:
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
            digest.update(os.fsencode(names[-1]) + file_digest)
            targets.append(picture.target)
    stacked = torch.from_numpy(images[: len(targets)])
    split = Split(stacked, torch.tensor(targets, dtype=torch.long))
    return split, tuple(names), tuple(sides)
