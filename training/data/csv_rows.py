"""Rows of a CSV file with a path, a label and perhaps a split: its encoding, delimiter, columns."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from model.printable import decode_text
from training.data.dataset import DatasetError
from training.data.splits import plain
from training.data.tree import IMAGE_SUFFIXES

PATHS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "fname"),
    *("image", "image_path", "image_file", "image_name", "image_id", "img", "img_path"),
    *("id", "name", "图片", "路径"),
)
LABELS = (
    *("label", "labels", "label_name", "class", "class_name", "category", "target", "tag"),
    *("species", "breed", "diagnosis", "y", "标签", "类别"),
)
SPLITS = ("split", "set", "subset", "partition", "usage", "划分")
"""Names of columns, in lower case with `_`; of several in a table the first counts."""
DELIMITERS = ",;\t|"
SAMPLE_ROWS = 50
"""Rows that the delimiter is found by."""
MAX_LINES = 5
"""Lines that a message names."""


class Row(NamedTuple):
    """A row of the table: where it is, and its cells."""

    line: int
    path: str
    label: str
    split: str | None


def read_rows(table: Path) -> tuple[list[Row], str]:
    """Read the rows, and say which columns they were read from."""
    text = _text(table)
    delimiter = _delimiter(text, table)
    numbered = list(_parsed(text, delimiter, table))
    _, first = numbered[0]
    names = ["_".join(cell.casefold().replace("-", " ").split()) for cell in first]
    columns = {
        what: next((names.index(name) for name in known if name in names), None)
        for what, known in (("path", PATHS), ("label", LABELS), ("split", SPLITS))
    }
    path, label, split = columns.values()
    if len(first) == 2 and (path is None) != (label is None):  # the other one
        path = 1 - (label or 0) if path is None else path
        label = 1 - path
        columns |= {"path": path, "label": label}
    if path is not None and label is not None:
        numbered = numbered[1:]
        shown = ", ".join(
            f"`{first[at]}` as the {what}" for what, at in columns.items() if at is not None
        )
    elif Path(first[0]).suffix.lower() in IMAGE_SUFFIXES and len(first) in (2, 3):
        path, label, split = 0, 1, 2 if len(first) == 3 else None
        shown = f"no header: {', '.join(('path', 'label', 'split')[: len(first)])}"
    else:
        raise DatasetError(
            f"{plain(table)}, line 1, must name the columns `path`, `label` and "
            "optionally `split`, or start with the path of an image and its label. It "
            f"has: {', '.join(plain(cell) for cell in first[:8])}."
        )
    need = max(at for at in (path, label, split) if at is not None)
    short = [Row(line, "", "", None) for line, cells in numbered if len(cells) <= need]
    if short:
        raise DatasetError(
            f"{plain(table)}: rows with fewer than {need + 1} columns, {lines_of(short)}. A cell "
            "that holds the delimiter must be in quotes."
        )
    rows = [
        Row(line, cells[path or 0], cells[label or 0], None if split is None else cells[split])
        for line, cells in numbered
    ]
    return rows, f"read {plain(table)}: {len(rows):,} rows; {shown}"


def _text(table: Path) -> str:
    """Read a file of text.

    Raises:
        DatasetError: If it is none.
    """
    try:
        content = table.read_bytes()
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise DatasetError(f"{plain(table)} cannot be read: {cause}.") from error
    try:
        text = decode_text(content)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or content.startswith(b"PK\x03\x04"):
        raise DatasetError(
            f"{plain(table)} is not UTF-8 text. Save it as CSV in UTF-8; spreadsheets "
            "call this `CSV UTF-8`."
        )
    if not text.strip():
        raise DatasetError(f"{plain(table)} is empty; expected rows of a path and a label.")
    return text


def _parsed(text: str, delimiter: str, table: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, its cells stripped, with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, skipinitialspace=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, [cell.strip() for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{plain(table)}, line {line}: {error}.") from error


def _delimiter(text: str, table: Path) -> str:
    """Find what divides the cells: most rows have as many as the first, at least two.

    Raises:
        DatasetError: If nothing does.
    """
    start = "\n".join(text.splitlines()[:SAMPLE_ROWS])
    scores = {}
    for delimiter in DELIMITERS:
        widths = [len(cells) for _, cells in _parsed(start, delimiter, table)]
        if widths[0] > 1:
            scores[delimiter] = (widths.count(widths[0]), widths[0])
    if not scores:
        raise DatasetError(
            f"{plain(table)}, line 1, has one column; expected a path and a label, "
            "separated by a comma, a semicolon or a tab."
        )
    return max(scores, key=lambda delimiter: scores[delimiter])


def lines_of(rows: Sequence[Row]) -> str:
    """Name the lines of some rows."""
    if len(rows) == 1:
        return f"line {rows[0].line}"
    shown = ", ".join(f"{row.line}" for row in rows[:MAX_LINES])
    return f"lines {shown}{f' and {len(rows) - MAX_LINES:,} more' if len(rows) > MAX_LINES else ''}"
