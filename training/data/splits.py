"""Which pictures of a folder train, validate and test: chosen by the seed, or as they were."""

import os
import random
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

HELD_OUT = 0.1
"""Share of each label that validates, and that tests, where no folder says so."""


class Picture(NamedTuple):
    """A file, and the place of its label."""

    path: Path
    target: int


def plain(path: Path | str) -> str:
    """Write a path in valid Unicode and in one line, whatever bytes its name is made of."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")  # a terminal would obey
        else character
        for character in _decoded(path, "backslashreplace")
    )


def as_text(path: Path | str) -> str:
    """Write a path for a file that is read elsewhere: the same text in every locale."""
    return _decoded(path, "surrogateescape")


def as_path(text: str) -> Path:
    """Read what `as_text` wrote."""
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))


def _decoded(path: Path | str, errors: str) -> str:
    return os.fsencode(path).decode("utf-8", errors)


def inside(picture: Picture, root: Path) -> str:
    """Name a file as splits.json does."""
    return as_text(picture.path.relative_to(root))


def hold_out(splits: dict[str, list[Picture]], name: str, seed: int) -> None:
    """Move a share of each label from the training split, where the split has no folder."""
    if splits.get(name):
        return
    by_target: dict[int, list[Picture]] = defaultdict(list)
    for picture in splits.get("train", []):
        by_target[picture.target].append(picture)
    chooser = random.Random(f"{seed}/{name}")  # noqa: S311  # a split, not a secret
    kept: list[Picture] = []
    splits[name] = []
    for pictures in by_target.values():
        share = max(1, round(HELD_OUT * len(pictures))) if len(pictures) > 2 else 0
        chosen = set(chooser.sample(range(len(pictures)), share))
        splits[name] += [picture for at, picture in enumerate(pictures) if at in chosen]
        kept += [picture for at, picture in enumerate(pictures) if at not in chosen]
    splits["train"] = kept


def is_about(held: Mapping[str, Sequence[str]], there: Mapping[str, Picture]) -> bool:
    """Whether most of the files that were held are there."""
    names = [name for files in held.values() for name in files]
    return 2 * sum(name in there for name in names) > len(names)


def split_again(
    held: Mapping[str, Sequence[str]], there: Mapping[str, Picture]
) -> tuple[dict[str, list[Picture]], list[str]]:
    """Put each picture where it was; say how many came since, and how many are gone.

    Args:
        held: Names of each split's files, as they were.
        there: Pictures by name, as they are.
    """
    again = {
        name: [there[file] for file in held.get(name, ()) if file in there]
        for name in ("train", "validation", "test")
    }
    known = {file for files in held.values() for file in files}
    changes = (
        (len(there.keys() - known), "files came since the run, and are in none of its splits"),
        (len(known - there.keys()), "files of the run are gone, or can no longer be read"),
    )
    return again, [f"{count} {what}" for count, what in changes if count]
