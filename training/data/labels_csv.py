"""Labels from a table: a CSV file with a path and a label in each row, and perhaps a split.

No image is opened here; `training.data.listing` makes a listing of the files.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.csv_rows import Row, lines_of, read_rows
from training.data.dataset import DatasetError
from training.data.split_words import UNLABELLED, splits_named
from training.data.splits import as_path, plain
from training.data.tree import IMAGE_SUFFIXES


class TableFile(NamedTuple):
    """An image that the table names.

    Attributes:
        path: Below the root.
        label: As the table has it.
        split: `train`, `validation`, `test`; None where the table has no splits.
    """

    path: Path
    label: str
    split: str | None


class Table(NamedTuple):
    """What a table names.

    Attributes:
        files: Each once, in the table's order.
        notes: How it was read.
        left_out: Rows that are not read, with the reason.
    """

    files: tuple[TableFile, ...]
    notes: list[str]
    left_out: list[str]


def read_table(table: Path, root: Path) -> Table:
    """Read a table of labels.

    Args:
        table: A CSV file: UTF-8 or UTF-16 with its mark; divided by comma, semicolon, tab or `|`.
        root: Its paths are relative to this folder; files outside it are refused.

    Raises:
        DatasetError: If it cannot be read, lacks a column, or contradicts itself; the message
            names the lines.
    """
    rows, note = read_rows(table)
    left_out: list[str] = []
    empty = [row for row in rows if not row.path or not row.label]
    if empty:
        left_out.append(
            f"{plain(table)}: ignored rows without a path or a label: {lines_of(empty)}"
        )
    located = _locate(table, root, [row for row in rows if row.path and row.label])
    missing = [row for row, path in located if not path.is_file()]
    if missing and len(missing) == len(located):
        raise DatasetError(
            f"{plain(table)}: none of its {len(missing):,} files exists in "
            f"{plain(root)}; the first is {plain(missing[0].path)} "
            f"({lines_of(missing[:1])}). With --data, name the folder that its paths "
            "are relative to."
        )
    if missing:
        first = f"{len(missing):,} missing, the first {plain(missing[0].path)}"
        left_out.append(
            f"{plain(table)}: ignored files that do not exist: {first}: {lines_of(missing)}"
        )
    present = [(row, path) for row, path in located if path.is_file()]
    files, notes = _each_once(table, present)
    unread = [row for row, file in files if file.split == UNLABELLED]
    if unread:
        left_out.append(f"{plain(table)}: ignored rows of other splits: {lines_of(unread)}")
    kept = tuple(file for _, file in files if file.split != UNLABELLED)
    return Table(kept, [note, *notes], left_out)


def _locate(table: Path, root: Path, rows: Iterable[Row]) -> list[tuple[Row, Path]]:
    """Find the file of each row below the root.

    Raises:
        DatasetError: If some are outside.
    """
    top = Path(os.path.normpath(root.absolute()))
    located, outside = [], []
    for row in rows:
        spellings = list(_spellings(top, row.path))
        path = next((path for path in spellings if path.is_file()), spellings[0])
        if not path.is_relative_to(top):
            outside.append(row)
        located.append((row, root / os.path.relpath(path, top)))
    if outside:
        raise DatasetError(
            f"{plain(table)} names files outside {plain(root)}, such as "
            f"{plain(outside[0].path)} ({lines_of(outside)}). With --data, name a "
            "folder that contains all of them."
        )
    return located


def _spellings(top: Path, text: str) -> Iterator[Path]:
    """Yield the path as it is written, then as other systems and tables without suffixes do."""
    forms = [text, text.replace("\\", "/")]
    forms += [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    if Path(text).suffix.lower() not in IMAGE_SUFFIXES:
        forms += [text + suffix for suffix in (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES))]
    for form in dict.fromkeys(forms):
        yield Path(os.path.normpath(top / as_path(form)))


def _each_once(
    table: Path, located: Sequence[tuple[Row, Path]]
) -> tuple[list[tuple[Row, TableFile]], list[str]]:
    """Keep the first row of each file.

    Raises:
        DatasetError: If a file has two labels or two splits, or a split is unknown.
    """
    rows: dict[Path, list[Row]] = defaultdict(list)
    for row, path in located:
        rows[path].append(row)
    for what, at in (("labels", 2), ("splits", 3)):
        mixed = [group for group in rows.values() if len({_folded(row[at]) for row in group}) > 1]
        if mixed:
            first = mixed[0][0]
            second = next(row for row in mixed[0] if _folded(row[at]) != _folded(first[at]))
            more = f", and {len(mixed) - 1:,} more files" if len(mixed) > 1 else ""
            raise DatasetError(
                f"{plain(table)} gives {plain(first.path)} two {what}: `{first[at]}` "
                f"in line {first.line}, `{second[at]}` in line {second.line}{more}. "
                "Each image must have one; remove a row."
            )
    splits = _splits(table, [group[0] for group in rows.values()])
    files = [
        (group[0], TableFile(path, group[0].label, splits[group[0].split]))
        for path, group in rows.items()
    ]
    again = [row for group in rows.values() for row in group[1:]]
    notes = [f"note: repeated rows count once: {lines_of(again)}"] if again else []
    return files, notes


def _splits(table: Path, rows: Iterable[Row]) -> dict[str | None, str | None]:
    """Read each word for a split.

    Raises:
        DatasetError: If one is unknown.
    """
    found: dict[str | None, str | None] = {}
    for row in rows:
        if row.split not in found:
            named = splits_named(row.split) if row.split else ()
            if row.split is not None and not named:
                raise DatasetError(
                    f"{plain(table)}, line {row.line}: the split `{plain(row.split)}` "
                    "must be train, validation, calibration or test. Write one into "
                    "each row, or remove the column."
                )
            found[row.split] = named[0] if named else None
    return found


def _folded(cell: object) -> object:
    return cell.casefold() if isinstance(cell, str) else cell
