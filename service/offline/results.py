"""A CSV file of one row for each image that grows batch by batch and survives a kill.

Each batch of rows is one write, followed by fsync. A row that was cut off by a kill or a loss of
power is removed at the next start, and its image is predicted again. A second file beside it,
`<name>.json`, says which model and options the rows are from: rows of different ones never mix.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from model.artifact.durable import replace_synced, sync_folder
from service.errors import StartError

Row = Sequence[str]


class Results:
    """The CSV file; a context manager that holds a lock on it.

    Args:
        path: Of the CSV file; created if it is not there.
        columns: Its header; the first column identifies a row.
        about: The model and options, as JSON values.

    Attributes:
        done: First column of the rows that are there.
        failed: How many of them have a reason in the last column.

    Raises:
        StartError: If the file has other rows or columns, or another process writes it.
        OSError: If it cannot be read or written.
    """

    def __init__(self, path: Path, columns: Row, about: Mapping[str, Any]) -> None:
        self.path = path
        self.columns = list(columns)
        self.done: set[str] = set()
        self.failed = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            self._lock()
            self._resume_or_begin(dict(about))
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        """Return the file, open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it, which releases the lock."""
        os.close(self._file)

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows, and wait until the disk has them.

        Raises:
            OSError: If they cannot be written; a row that was cut off is removed at the next start.
        """
        self._write(rows)
        self.done.update(row[0] for row in rows)
        self.failed += sum(bool(row[-1]) for row in rows)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"{self.path} is being written by another predict-model. Wait for it, "
                "or use another --out."
            ) from error

    def _resume_or_begin(self, about: dict[str, Any]) -> None:
        record = self.path.with_name(f"{self.path.name}.json")
        if os.fstat(self._file).st_size:
            self._check(record, about)
            os.ftruncate(self._file, self._read_rows())
        else:
            replace_synced(record, (json.dumps(about, indent=1) + "\n").encode())
        if not os.fstat(self._file).st_size:
            self._write([self.columns])
            sync_folder(self.path.parent)

    def _check(self, record: Path, about: dict[str, Any]) -> None:
        """Refuse rows of another model or of other options.

        Raises:
            StartError: If they differ, or it is not known what the rows are.
        """
        try:
            before = json.loads(record.read_bytes())
        except (OSError, ValueError) as error:
            raise StartError(
                f"{self.path} already exists, and {record.name} beside it does not "
                "say which model wrote it. Use another --out, or move it away."
            ) from error
        changed = [name for name, value in about.items() if before.get(name) != value]
        if changed:
            name = changed[0]
            raise StartError(
                f"{self.path} was started with {name} {before.get(name)}; this is "
                f"{name} {about[name]}. Use the same model and options to continue, "
                "or use another --out."
            )

    def _read_rows(self) -> int:
        """Read the first column of all whole rows; return where the last of them ends.

        Raises:
            StartError: If a row other than the last one is broken, or the columns differ.
        """
        end, header = 0, True
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            for row, position in _whole_rows(file, len(self.columns)):
                if header and row != self.columns:
                    raise StartError(
                        f"{self.path} has the columns {', '.join(row)}; they must be "
                        f"{', '.join(self.columns)}. Use another --out."
                    )
                if not header:
                    self.done.add(row[0])
                    self.failed += bool(row[-1])
                end, header = position, False
            if any(_whole_rows(file, len(self.columns))):
                raise StartError(
                    f"{self.path} has a broken row at byte {end:,}, with others after "
                    "it. Repair it, or use another --out."
                )
        return end

    def _write(self, rows: Sequence[Row]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        left = memoryview(text.getvalue().encode())
        while left:
            left = left[os.write(self._file, left) :]
        os.fsync(self._file)


def _whole_rows(file: io.BufferedReader, width: int) -> Iterator[tuple[list[str], int]]:
    """Yield rows with the position after each, up to the first one that is broken or cut off."""
    position, complete = file.tell(), True

    def lines() -> Iterator[str]:
        nonlocal position, complete
        for line in file:
            position += len(line)
            complete = line.endswith(b"\n")
            yield line.decode(errors="replace")

    try:
        for row in csv.reader(lines(), strict=True):
            if not complete or len(row) != width:
                return
            yield row, position
    except csv.Error:  # a quote that is not closed, or zeros after a loss of power
        return
