"""Files of a folder, their names, and their division as an earlier run had it."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.dataset import SPLIT_NAMES


class LabelledFile(NamedTuple):
    """An image file, and the position of its label."""

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


def inside(file: LabelledFile, root: Path) -> str:
    """Name a file as splits.json does."""
    return as_text("/".join(file.path.parts[len(root.parts) :]))


def matches(held: Mapping[str, Sequence[str]], there: Mapping[str, LabelledFile]) -> bool:
    """Whether most of the files of an earlier division are there."""
    names = [name for files in held.values() for name in files]
    return 2 * sum(name in there for name in names) > len(names)


def split_again(
    held: Mapping[str, Sequence[str]], there: Mapping[str, LabelledFile]
) -> tuple[dict[str, list[LabelledFile]], list[str]]:
    """Divide files as an earlier run did; count those that are new and those that are gone.

    Args:
        held: Names of each split's files in the earlier run.
        there: The files of today, by name.
    """
    again = {
        name: [there[file] for file in held.get(name, ()) if file in there] for name in SPLIT_NAMES
    }
    known = {file for files in held.values() for file in files}
    changes = (
        (len(there.keys() - known), "new files since the run started; they are not used"),
        (len(known - there.keys()), "files of the run are missing or can no longer be read"),
    )
    return again, [f"{count} {what}" for count, what in changes if count]
